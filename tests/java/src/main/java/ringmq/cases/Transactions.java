// Transactions: what is committed is received once, what is rolled back never; who does not know is asked, and so is another member of the group.
package ringmq.cases;

import java.util.Map;
import java.util.TreeMap;
import java.util.TreeSet;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicReference;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.producer.LocalTransactionState;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.client.producer.TransactionListener;
import org.apache.rocketmq.client.producer.TransactionMQProducer;
import org.apache.rocketmq.client.producer.TransactionSendResult;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;

final class Transactions implements Case {
    private static final int EACH = 20;
    /** More than two rounds of questions as run.sh sets them. */
    private static final int QUIET_MS = 5_000;
    private static final String[] KINDS = {"commit", "rollback", "later-commit", "later-rollback", "twice"};

    @Override
    public String name() {
        return "transactions";
    }

    @Override
    public String run(Bed bed) throws Exception {
        String topic = bed.topic("Transactions", 4);
        String group = bed.name("transactors");
        Asked asked = new Asked();
        TransactionMQProducer producer = producer(bed, group, asked);
        Ledger ledger = new Ledger();
        AtomicReference<String> odd = new AtomicReference<>();
        DefaultMQPushConsumer consumer = bed.push(bed.name("receivers"));
        consumer.subscribe(topic, "*");
        ledger.listen(consumer, "one", message -> look(message, odd));
        consumer.start();
        TreeSet<String> expected = new TreeSet<>();
        for (int i = 0; i < EACH; i++) {
            for (String kind : KINDS) {
                String key = kind + ":" + i;
                send(producer, topic, key);
                if (!kind.endsWith("rollback")) {
                    expected.add(key);
                }
            }
        }
        // Its producer leaves before it is asked: the other member answers.
        TransactionMQProducer leaver = producer(bed, group, new Asked());
        send(leaver, topic, "later-commit:left");
        expected.add("later-commit:left");
        leaver.shutdown();

        long millis = Bed.await("messages of " + expected.size() + " commits", 60, () -> ledger.distinct() >= expected.size());
        Bed.await("questions about rollbacks", 60, () -> asked.of("later-rollback") == EACH);
        // What has ended is not asked about again; whatever is not would be given up after 15 questions.
        Bed.await("an end of questions", 15, () -> {
            int before = asked.total();
            Thread.sleep(QUIET_MS);
            return asked.total() == before;
        });
        Bed.same("messages received", expected.size(), ledger.distinct());
        for (String key : expected) {
            Bed.check(ledger.placeOf(key) != null, "%s was committed and is not received", key);
        }
        ledger.checkOrder();
        Bed.check(odd.get() == null, "%s", odd.get());
        Bed.check(asked.odd.get() == null, "%s", asked.odd.get());
        Bed.check(asked.times("later-commit:left") > 0, "nobody was asked about the message of a producer that left");
        for (int i = 0; i < EACH; i++) {
            Bed.check(asked.times("twice:" + i) >= 2, "asked %d times about twice:%d", asked.times("twice:" + i), i);
        }
        return String.format("%d commits, %d rollbacks, all received after %d ms; %d questions", expected.size(), 2 * EACH, millis, asked.total());
    }

    private static TransactionMQProducer producer(Bed bed, String group, Asked asked) throws Exception {
        TransactionMQProducer producer = new TransactionMQProducer(group);
        producer.setNamesrvAddr(bed.target.nameServer);
        producer.setInstanceName(bed.instance());
        producer.setPollNameServerInterval(2_000);
        producer.setHeartbeatBrokerInterval(1_000);
        producer.setSendMsgTimeout(10_000);
        producer.setTransactionListener(asked);
        producer.start();
        bed.closeLater(producer::shutdown);
        return producer;
    }

    private static void send(TransactionMQProducer producer, String topic, String key) throws Exception {
        Message message = Bed.message(topic, "T", key);
        message.putUserProperty("mine", key);
        TransactionSendResult result = producer.sendMessageInTransaction(message, key);
        Bed.same("status of " + key, SendStatus.SEND_OK, result.getSendStatus());
    }

    private static void look(MessageExt message, AtomicReference<String> odd) {
        String key = message.getKeys();
        if (!("body of " + key).equals(Bed.text(message.getBody())) || !key.equals(message.getUserProperty("mine")) || !"T".equals(message.getTags())) {
            odd.set("received " + message + " for " + key);
        }
        if (message.getPreparedTransactionOffset() <= 0 && message.getSysFlag() != 8) {
            odd.set("no transaction: " + message);
        }
    }

    /** Answers as the key of the message says, and counts questions. */
    private static final class Asked implements TransactionListener {
        final AtomicReference<String> odd = new AtomicReference<>();
        private final Map<String, Integer> times = new ConcurrentHashMap<>();

        @Override
        public LocalTransactionState executeLocalTransaction(Message message, Object key) {
            switch (key.toString().split(":")[0]) {
                case "commit":
                    return LocalTransactionState.COMMIT_MESSAGE;
                case "rollback":
                    return LocalTransactionState.ROLLBACK_MESSAGE;
                default:
                    return LocalTransactionState.UNKNOW;
            }
        }

        @Override
        public LocalTransactionState checkLocalTransaction(MessageExt message) {
            String key = message.getKeys();
            int time = times.merge(key, 1, Integer::sum);
            if (!("body of " + key).equals(Bed.text(message.getBody())) || message.getTransactionId() == null || !key.equals(message.getUserProperty("mine"))) {
                odd.set("asked about " + message);
            }
            switch (key.split(":")[0]) {
                case "commit":
                case "later-commit":
                    return LocalTransactionState.COMMIT_MESSAGE;
                case "twice":
                    return time < 2 ? LocalTransactionState.UNKNOW : LocalTransactionState.COMMIT_MESSAGE;
                default:
                    return LocalTransactionState.ROLLBACK_MESSAGE;
            }
        }

        int times(String key) {
            return times.getOrDefault(key, 0);
        }

        /** Messages of a kind that were asked about. */
        long of(String kind) {
            return times.keySet().stream().filter(key -> key.startsWith(kind + ":")).count();
        }

        int total() {
            return new TreeMap<>(times).values().stream().mapToInt(Integer::intValue).sum();
        }
    }
}
