// A body above the broker's limit is refused with a reason, at the limit it is stored; the connection goes on serving.
package ringmq.cases;

import java.util.Arrays;
import java.util.Map;
import java.util.concurrent.ThreadLocalRandom;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.exception.MQBrokerException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageQueue;

@SuppressWarnings("deprecation")
final class Oversize implements Case {
    private static final int LIMIT_BYTES = 4 * 1024 * 1024;

    @Override
    public String name() {
        return "oversize";
    }

    @Override
    public String run(Bed bed) throws Exception {
        String topic = bed.topic("Big", 1);
        MessageQueue queue = bed.queues(topic, 1).get(0);
        DefaultMQProducer producer = bed.producer();
        producer.setMaxMessageSize(16 * LIMIT_BYTES);
        producer.setCompressMsgBodyOverHowmuch(Integer.MAX_VALUE);
        MQBrokerException refusal = Bed.refused("a body of limit + 1", () -> producer.send(new Message(topic, body(LIMIT_BYTES + 1)), queue));
        Bed.same("code", 13, refusal.getResponseCode());
        MQBrokerException far = Bed.refused("a body of 3 times the limit", () -> producer.send(new Message(topic, body(3 * LIMIT_BYTES)), queue));
        Bed.check(refusal.getErrorMessage().contains("msg body length limit"), "the refusal names no limit: %s", refusal.getErrorMessage());
        Bed.same("code", 13, far.getResponseCode());
        byte[] large = body(LIMIT_BYTES - 1024);
        Bed.same("offset of a large message", 0L, producer.send(new Message(topic, large), queue).getQueueOffset());
        DefaultMQPullConsumer consumer = bed.pull(bed.name("pullers"));
        Bed.await("the large message in its queue", 20, () -> consumer.maxOffset(queue) == 1);
        byte[] read = consumer.pull(queue, "*", 0, 32).getMsgFoundList().get(0).getBody();
        Bed.check(Arrays.equals(large, read), "the large body came back different");
        var properties = SendByHand.send(bed, topic, Bed.bytes("x"), Map.of("properties", "k\u0001" + "v".repeat(32_768) + "\u0002"));
        Bed.same("code for properties above 32767 bytes", 13, properties.getCode());
        Bed.same("end of the queue", 1L, consumer.maxOffset(queue));
        return "body of 4 MiB + 1: " + refusal.getResponseCode() + " " + refusal.getErrorMessage();
    }

    /** Random, so that nothing can make it smaller. */
    private static byte[] body(int size) {
        byte[] body = new byte[size];
        ThreadLocalRandom.current().nextBytes(body);
        return body;
    }
}
