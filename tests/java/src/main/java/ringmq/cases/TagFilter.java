// Filtering by tag: each group receives exactly its tags, also where two tags have the same hash.
package ringmq.cases;

import java.nio.ByteBuffer;
import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Set;
import java.util.TreeSet;
import java.util.concurrent.ConcurrentSkipListSet;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.message.MessageDecoder;
import org.apache.rocketmq.common.message.MessageQueue;
import org.apache.rocketmq.remoting.protocol.RemotingCommand;

final class TagFilter implements Case {
    private static final int PULL_MESSAGE = 11;
    /** The pull brings its subscription. */
    private static final int BRINGS_SUBSCRIPTION = 4;
    private static final int QUEUES = 4;
    private static final int ROUNDS = 20;
    /** "Aa" and "BB" have the same hash, by which the broker filters. Only `*` wants "Other". */
    private static final List<String> TAGS = List.of("Red", "Green", "Aa", "BB", "标签", "Other");
    private static final List<String> SUBSCRIPTIONS = List.of("Red || Green", "Aa", "标签", "*");

    @Override
    public String name() {
        return "tag-filter";
    }

    @Override
    public String run(Bed bed) throws Exception {
        String topic = bed.topic("Tags", QUEUES);
        List<Set<String>> received = new ArrayList<>();
        for (String subscription : SUBSCRIPTIONS) {
            Set<String> keys = new ConcurrentSkipListSet<>();
            DefaultMQPushConsumer consumer = bed.push(bed.name("tags" + received.size()));
            consumer.subscribe(topic, subscription);
            consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
                messages.forEach(message -> keys.add(message.getTags() + "/" + message.getKeys()));
                return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
            });
            consumer.start();
            received.add(keys);
        }
        DefaultMQProducer producer = bed.producer();
        List<MessageQueue> queues = bed.queues(topic, QUEUES);
        for (int i = 0; i < ROUNDS; i++) {
            for (String tag : TAGS) {
                producer.send(Bed.message(topic, tag, "m" + i), queues.get(i % QUEUES));
            }
        }
        for (int i = 0; i < received.size(); i++) {
            Set<String> keys = received.get(i);
            Set<String> expected = expected(SUBSCRIPTIONS.get(i));
            Bed.await("messages of subscription " + SUBSCRIPTIONS.get(i), 30, () -> keys.containsAll(expected));
        }
        // Time for what must not come.
        Thread.sleep(1_000);
        for (int i = 0; i < received.size(); i++) {
            Bed.same("messages of subscription " + SUBSCRIPTIONS.get(i), expected(SUBSCRIPTIONS.get(i)), new TreeSet<>(received.get(i)));
        }
        for (String subscription : SUBSCRIPTIONS) {
            Bed.same("tags that the broker gave a pull for " + subscription, passed(subscription), pulled(bed, topic, subscription));
        }
        return "subscriptions " + SUBSCRIPTIONS + " each received exactly their messages; the broker passes no others but of the same hash";
    }

    /** Tags in the answer of the broker, before the client drops what it does not want. */
    private static Set<String> pulled(Bed bed, String topic, String subscription) throws Exception {
        RemotingCommand answer = bed.target.ask(PULL_MESSAGE, Map.of("consumerGroup", bed.name("byhand"), "topic", topic, "queueId", "0", "queueOffset", "0",
                "maxMsgNums", "32", "sysFlag", "" + BRINGS_SUBSCRIPTION, "commitOffset", "0", "suspendTimeoutMillis", "0", "subscription", subscription,
                "subVersion", "0"), null);
        Bed.same("code of a pull for " + subscription, 0, answer.getCode());
        Set<String> tags = new TreeSet<>();
        MessageDecoder.decodes(ByteBuffer.wrap(answer.getBody())).forEach(message -> tags.add(message.getTags()));
        return tags;
    }

    /** Tags with the hash of one that is wanted. */
    private static Set<String> passed(String subscription) {
        Set<String> tags = new TreeSet<>(TAGS);
        if (!subscription.equals("*")) {
            tags.removeIf(tag -> List.of(subscription.split(" \\|\\| ")).stream().noneMatch(wanted -> wanted.hashCode() == tag.hashCode()));
        }
        return tags;
    }

    private static Set<String> expected(String subscription) {
        Set<String> keys = new TreeSet<>();
        for (String tag : TAGS) {
            if (subscription.equals("*") || List.of(subscription.split(" \\|\\| ")).contains(tag)) {
                for (int i = 0; i < ROUNDS; i++) {
                    keys.add(tag + "/m" + i);
                }
            }
        }
        return keys;
    }
}
