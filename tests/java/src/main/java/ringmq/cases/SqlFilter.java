// Filtering by SQL92 expressions: refused while the broker does not allow it, and what each kind of consumer receives when it does.
package ringmq.cases;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.Properties;
import java.util.Set;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.concurrent.ConcurrentSkipListSet;
import org.apache.rocketmq.client.consumer.DefaultLitePullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.MessageSelector;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

@SuppressWarnings("deprecation")
final class SqlFilter implements Case {
    private static final int QUEUES = 4;
    private static final int MESSAGES = 200;
    /**
     * Each with the numbers it matches: a number's message has no price when 5 divides it, and price "n/a" when 7 does. The numbers that are named have
     * one, and it alone decides about them.
     */
    private static final Map<String, Integer> EXPRESSIONS = new TreeMap<>(Map.of(
            "price > 151", 0, "price BETWEEN 11 AND 22 AND NOT (color = 'red')", 1, "price IS NULL OR TAGS IN ('T1', 'T3') AND color <> 'blue'", 2,
            "color = 'it''s' or price=43", 3));

    private static boolean matches(int kind, int number) {
        String color = color(number);
        boolean comparable = number % 5 != 0 && number % 7 != 0;
        switch (kind) {
            case 0: return comparable && number > 151;
            case 1: return comparable && number >= 11 && number <= 22 && !color.equals("red");
            case 2: return number % 5 == 0 || (number % 4 == 1 || number % 4 == 3) && !color.equals("blue");
            // What cannot be compared is not matched, unless the left side decides.
            default: return color.equals("it's") || number == 43;
        }
    }

    private static String color(int number) {
        return List.of("red", "blue", "it's").get(number % 3);
    }

    @Override
    public String name() {
        return "sql-filter";
    }

    @Override
    public String run(Bed bed) throws Exception {
        String topic = bed.topic("Sql", QUEUES);
        allow(bed, false);
        String disabled = refusal(bed, topic, "price > 151");
        Bed.check(disabled.contains("CODE: 1 ") && disabled.contains("The broker does not support consumer to filter message by SQL92"), "while it is disabled: %s", disabled);
        allow(bed, true);
        String wrong = refusal(bed, topic, "price > AND color = 'red'");
        Bed.check(wrong.contains("CODE: 23 ") && wrong.contains("ParseException: Encountered \" \"AND\" \"AND \"\" at line 1, column 9."), "a wrong expression: %s", wrong);
        List<Set<String>> received = push(bed, topic);
        send(bed, topic);
        for (Map.Entry<String, Integer> one : EXPRESSIONS.entrySet()) {
            Set<String> expected = expected(one.getValue());
            Set<String> keys = received.get(one.getValue());
            Bed.await("messages of " + one.getKey(), 30, () -> keys.containsAll(expected));
        }
        pull(bed, topic);
        litePull(bed, topic);
        Thread.sleep(500);
        for (Map.Entry<String, Integer> one : EXPRESSIONS.entrySet()) {
            Bed.same("messages of " + one.getKey(), expected(one.getValue()), new TreeSet<>(received.get(one.getValue())));
        }
        return EXPRESSIONS.size() + " expressions each received exactly their messages, pushed, pulled and polled; wrong ones are refused";
    }

    private static void allow(Bed bed, boolean allowed) throws Exception {
        Properties properties = new Properties();
        properties.setProperty("enablePropertyFilter", Boolean.toString(allowed));
        bed.target.admin.updateBrokerConfig(bed.target.brokerAddress, properties);
    }

    /** A push consumer checks its expression when it starts. */
    private static String refusal(Bed bed, String topic, String expression) throws Exception {
        DefaultMQPushConsumer consumer = bed.push(bed.name("refused" + bed.instance()));
        consumer.subscribe(topic, MessageSelector.bySql(expression));
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> ConsumeConcurrentlyStatus.CONSUME_SUCCESS);
        try {
            consumer.start();
        } catch (MQClientException refused) {
            return refused.getMessage();
        }
        throw new AssertionError("not refused: " + expression);
    }

    private static List<Set<String>> push(Bed bed, String topic) throws Exception {
        List<Set<String>> received = new ArrayList<>();
        for (int i = 0; i < EXPRESSIONS.size(); i++) {
            received.add(new ConcurrentSkipListSet<>());
        }
        for (Map.Entry<String, Integer> one : EXPRESSIONS.entrySet()) {
            Set<String> keys = received.get(one.getValue());
            DefaultMQPushConsumer consumer = bed.push(bed.name("sql" + one.getValue()));
            consumer.subscribe(topic, MessageSelector.bySql(one.getKey()));
            consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
                messages.forEach(message -> keys.add(message.getKeys()));
                return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
            });
            consumer.start();
        }
        return received;
    }

    private static void send(Bed bed, String topic) throws Exception {
        DefaultMQProducer producer = bed.producer();
        List<MessageQueue> queues = bed.queues(topic, QUEUES);
        for (int i = 0; i < MESSAGES; i++) {
            var message = Bed.message(topic, "T" + i % 4, "m" + i);
            if (i % 5 != 0) {
                message.putUserProperty("price", i % 7 == 0 ? "n/a" : Integer.toString(i));
            }
            message.putUserProperty("color", color(i));
            producer.send(message, queues.get(i % QUEUES));
        }
    }

    /** Pulls bring their expression. */
    private static void pull(Bed bed, String topic) throws Exception {
        DefaultMQPullConsumer consumer = bed.pull(bed.name("sqlpullers"));
        // It asks a broker for such messages only when it knows the broker's version, which a heart beat brings.
        consumer.fetchSubscribeMessageQueues(topic);
        Bed.await("a heart beat", 20, () -> {
            consumer.getDefaultMQPullConsumerImpl().getRebalanceImpl().getmQClientFactory().sendHeartbeatToAllBrokerWithLock();
            try {
                consumer.pull(bed.queues(topic, QUEUES).get(0), MessageSelector.bySql("price > 151"), 0, 1);
                return true;
            } catch (MQClientException unknown) {
                Bed.check(unknown.getMessage().contains("does not upgrade"), "%s", unknown);
                return false;
            }
        });
        for (Map.Entry<String, Integer> one : EXPRESSIONS.entrySet()) {
            Set<String> keys = new TreeSet<>();
            for (MessageQueue queue : bed.queues(topic, QUEUES)) {
                long offset = 0;
                PullResult found = consumer.pull(queue, MessageSelector.bySql(one.getKey()), offset, 32);
                while (found.getPullStatus() != PullStatus.NO_NEW_MSG) {
                    if (found.getPullStatus() == PullStatus.FOUND) {
                        found.getMsgFoundList().forEach(message -> keys.add(message.getKeys()));
                    }
                    Bed.check(found.getNextBeginOffset() > offset, "a pull at %d goes on at %d", offset, found.getNextBeginOffset());
                    offset = found.getNextBeginOffset();
                    found = consumer.pull(queue, MessageSelector.bySql(one.getKey()), offset, 32);
                }
            }
            Bed.same("pulled by " + one.getKey(), expected(one.getValue()), keys);
        }
    }

    private static void litePull(Bed bed, String topic) throws Exception {
        DefaultLitePullConsumer consumer = bed.litePull(bed.name("sqllite"));
        consumer.subscribe(topic, MessageSelector.bySql("price > 151"));
        consumer.start();
        Set<String> keys = new TreeSet<>();
        Bed.await("polled by price > 151", 30, () -> {
            for (MessageExt message : consumer.poll(200)) {
                keys.add(message.getKeys());
            }
            return keys.containsAll(expected(0));
        });
        Bed.same("polled", expected(0), keys);
    }

    private static Set<String> expected(int kind) {
        Set<String> keys = new TreeSet<>();
        for (int i = 0; i < MESSAGES; i++) {
            if (matches(kind, i)) {
                keys.add("m" + i);
            }
        }
        return keys;
    }
}
