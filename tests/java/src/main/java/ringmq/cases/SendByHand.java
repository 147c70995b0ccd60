// A send request built field by field, so that the client's own checks do not stand before the broker's.
package ringmq.cases;

import java.util.Map;
import java.util.TreeMap;
import org.apache.rocketmq.remoting.protocol.RemotingCommand;

final class SendByHand {
    private static final int SEND_MESSAGE = 10;

    private SendByHand() {}

    static RemotingCommand send(Bed bed, String topic, byte[] body, Map<String, String> differing) throws Exception {
        Map<String, String> fields = new TreeMap<>(Map.of("producerGroup", bed.name("byhand"), "topic", topic, "defaultTopic", "TBW102",
                "defaultTopicQueueNums", "4", "queueId", "0", "sysFlag", "0", "bornTimestamp", Long.toString(System.currentTimeMillis()), "flag", "0"));
        fields.putAll(Map.of("properties", "", "reconsumeTimes", "0", "unitMode", "false", "batch", "false"));
        fields.putAll(differing);
        return bed.target.ask(SEND_MESSAGE, fields, body);
    }
}
