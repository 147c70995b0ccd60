// Both header formats on one connection are understood, whatever the client was started with; an unknown request is refused, not dropped.
package ringmq.cases;

import java.util.Map;
import java.util.TreeMap;
import org.apache.rocketmq.remoting.protocol.RemotingCommand;
import org.apache.rocketmq.remoting.protocol.SerializeType;

final class HeaderType implements Case {
    private static final int HEART_BEAT = 34;
    private static final int GET_MAX_OFFSET = 30;
    private static final int UNKNOWN = 12345;

    @Override
    public String name() {
        return "header-type";
    }

    @Override
    public String run(Bed bed) throws Exception {
        Bed.same("the client's own format", System.getProperty("rocketmq.serialize.type", "JSON"), RemotingCommand.getSerializeTypeConfigInThisServer().name());
        String topic = bed.topic("Header", 1);
        Map<String, String> answeredIn = new TreeMap<>();
        for (SerializeType format : SerializeType.values()) {
            RemotingCommand offset = bed.target.ask(format, GET_MAX_OFFSET, Map.of("topic", topic, "queueId", "0"), null);
            Bed.same("code for a request in " + format, 0, offset.getCode());
            Bed.same("offset in the fields of the answer to " + format, "0", offset.getExtFields().get("offset"));
            answeredIn.put(format.name(), offset.getSerializeTypeCurrentRPC().name());
            RemotingCommand heartBeat = bed.target.ask(format, HEART_BEAT, Map.of(),
                    Bed.bytes("{\"clientID\":\"" + bed.instance() + "\",\"consumerDataSet\":[],\"producerDataSet\":[]}"));
            Bed.same("code for a heart beat in " + format, 0, heartBeat.getCode());
            RemotingCommand unknown = bed.target.ask(format, UNKNOWN, Map.of(), null);
            Bed.same("code for an unknown request in " + format, 3, unknown.getCode());
        }
        return "requests and the format of their answers: " + answeredIn;
    }
}
