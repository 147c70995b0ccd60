// What is sent is what is received: bodies of all sizes and bytes, compressed or not, keys, tags, flags, properties of all kinds, and ids.
package ringmq.cases;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.HashSet;
import java.util.List;
import java.util.Random;
import java.util.Set;
import java.util.stream.IntStream;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageAccessor;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

@SuppressWarnings("deprecation")
final class Contents implements Case {
    private static final int COMPRESSED_FROM = 4096;
    private static final int MIB = 1 << 20;
    private final Random random = new Random(11);

    @Override
    public String name() {
        return "contents";
    }

    @Override
    public String run(Bed bed) throws Exception {
        String topic = bed.topic("Contents", 1);
        MessageQueue queue = bed.queues(topic, 1).get(0);
        List<Message> messages = messages(topic);
        DefaultMQProducer compressing = bed.producer();
        DefaultMQProducer plain = bed.producer();
        plain.setCompressMsgBodyOverHowmuch(Integer.MAX_VALUE);
        plain.setMaxMessageSize(4 * MIB);
        List<byte[]> bodies = new ArrayList<>();
        List<SendResult> results = new ArrayList<>();
        long before = System.currentTimeMillis();
        for (Message message : messages) {
            for (DefaultMQProducer producer : List.of(compressing, plain)) {
                // What comes compressed of the client under way is not what the application gave.
                bodies.add(message.getBody().clone());
                Message copy = new Message(message.getTopic(), message.getBody().clone());
                copy.setFlag(message.getFlag());
                message.getProperties().forEach((key, value) -> MessageAccessor.putProperty(copy, key, value));
                results.add(producer.send(copy, queue));
            }
        }
        List<MessageExt> received = readAll(bed, queue, bodies.size());
        Set<String> ids = new HashSet<>();
        for (int i = 0; i < received.size(); i++) {
            Message sent = messages.get(i / 2);
            MessageExt found = received.get(i);
            byte[] body = found.getBody();
            String which = "message " + i / 2 + (i % 2 == 0 ? ", compressing: " : ", plain: ");
            Bed.check(Arrays.equals(bodies.get(i), found.getBody()), "%s%d bytes sent, other %d bytes received", which, bodies.get(i).length, found.getBody().length);
            Bed.same(which + "flag", sent.getFlag(), found.getFlag());
            // Zeros took little room on the way and in the store if the client compressed them, and only then.
            if (body.length > 1 && IntStream.range(0, body.length).allMatch(at -> body[at] == 0)) {
                boolean isSmall = found.getStoreSize() < body.length / 2;
                Bed.same(which + "stored compressed", i % 2 == 0 && body.length >= COMPRESSED_FROM, isSmall);
            }
            sent.getProperties().forEach((key, value) -> Bed.same(which + key, value, "" + found.getProperty(key)));
            Bed.same(which + "id", results.get(i).getMsgId(), found.getMsgId());
            Bed.check(ids.add(found.getMsgId()), "%sits id is that of another one", which);
            Bed.check(before <= found.getBornTimestamp() && found.getBornTimestamp() <= found.getStoreTimestamp(), "%sborn %d, stored %d", which,
                    found.getBornTimestamp(), found.getStoreTimestamp());
            Bed.same(which + "born at", "127.0.0.1", found.getBornHostString());
            Bed.same(which + "times consumed", 0, found.getReconsumeTimes());
        }
        return received.size() + " messages as they were sent, up to " + bodies.stream().mapToInt(body -> body.length).max().orElse(0) + " bytes";
    }

    private List<Message> messages(String topic) {
        byte[] allBytes = new byte[256];
        for (int i = 0; i < allBytes.length; i++) {
            allBytes[i] = (byte) i;
        }
        List<Message> messages = new ArrayList<>();
        messages.add(new Message(topic, new byte[] {0}));
        messages.add(new Message(topic, allBytes));
        messages.add(new Message(topic, Bed.bytes("ünïcödé 消息 🚀")));
        messages.add(new Message(topic, new byte[COMPRESSED_FROM - 1]));
        messages.add(new Message(topic, new byte[COMPRESSED_FROM]));
        messages.add(new Message(topic, new byte[2 * MIB]));
        byte[] noise = new byte[3 * MIB];
        random.nextBytes(noise);
        messages.add(new Message(topic, noise));
        messages.add(new Message(topic, "Tag", "one two three", Integer.MIN_VALUE, Bed.bytes("keys"), false));
        Message odd = new Message(topic, "标签", "ключ", Integer.MAX_VALUE, Bed.bytes("names"), true);
        odd.putUserProperty("имя", "значение 🚀");
        odd.putUserProperty("quoted", "\"a\\b\"\t\n{}[],:");
        odd.putUserProperty("blank inside", "two  blanks");
        messages.add(odd);
        Message many = new Message(topic, Bed.bytes("many properties"));
        for (int i = 0; i < 200; i++) {
            many.putUserProperty("property" + i, "x".repeat(i + 1));
        }
        messages.add(many);
        return messages;
    }

    private static List<MessageExt> readAll(Bed bed, MessageQueue queue, int count) throws Exception {
        DefaultMQPullConsumer consumer = bed.pull(bed.name("readers"));
        Bed.await("all messages in the queue", 20, () -> consumer.maxOffset(queue) == count);
        List<MessageExt> received = new ArrayList<>();
        while (received.size() < count) {
            var found = consumer.pull(queue, "*", received.size(), 32).getMsgFoundList();
            Bed.check(found != null && !found.isEmpty(), "nothing at %d of %d", received.size(), count);
            received.addAll(found);
        }
        return received;
    }
}
