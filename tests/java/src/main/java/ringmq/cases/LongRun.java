// Many kinds of clients at once while the broker is killed and restarted by somebody else; then every message is accounted for.
// Arguments: NAMESRV --seconds N --seed S. One line per finding, a table of counts, then `0 problems` and exit status 0, or 1.
package ringmq.cases;

import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.Random;
import java.util.Set;
import java.util.TreeMap;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.ThreadLocalRandom;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.consumer.listener.MessageListenerOrderly;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.LocalTransactionState;
import org.apache.rocketmq.client.producer.SendResult;
import org.apache.rocketmq.client.producer.SendStatus;
import org.apache.rocketmq.client.producer.TransactionListener;
import org.apache.rocketmq.client.producer.TransactionMQProducer;
import org.apache.rocketmq.common.consumer.ConsumeFromWhere;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.common.message.MessageQueue;

public final class LongRun {
    private static final int QUEUES = 8;
    private static final int ORDERED_QUEUES = 4;
    /** Level and its delay in ms, as the broker of this run has them. */
    private static final int[][] DELAYS = {{1, 1_000}, {2, 5_000}, {3, 10_000}};
    private static final long DRAIN_SECONDS_MAX = 240;

    private enum Fate { STORED, UNKNOWN }

    /** What the producers know of a kind of message. */
    private static final class Account {
        final Map<String, Fate> sent = new ConcurrentHashMap<>();
        /** Places where a consumer saw the message: queue and offset. */
        final Map<String, Set<String>> seen = new ConcurrentHashMap<>();
        final AtomicLong deliveries = new AtomicLong();
    }

    private final String nameServer;
    private final Random seeds;
    private final String suffix = Bed.unique();
    private final Map<String, Account> accounts = new TreeMap<>();
    private final ConcurrentLinkedQueue<String> problems = new ConcurrentLinkedQueue<>();
    private final AtomicInteger instances = new AtomicInteger();
    private final AtomicLong retried = new AtomicLong();
    private volatile boolean producing = true;
    /** Ids that failed on purpose at first. */
    private final Set<String> failedOnce = ConcurrentHashMap.newKeySet();

    private LongRun(String nameServer, long seed) {
        this.nameServer = nameServer;
        this.seeds = new Random(seed);
        for (String kind : List.of("plain", "broadcast-0", "broadcast-1", "transaction", "delay", "timer", "ordered")) {
            accounts.put(kind, new Account());
        }
    }

    public static void main(String[] arguments) throws Exception {
        long seconds = 60;
        long seed = ThreadLocalRandom.current().nextLong(1L << 40);
        for (int i = 1; i + 1 < arguments.length; i += 2) {
            switch (arguments[i]) {
                case "--seconds" -> seconds = Long.parseLong(arguments[i + 1]);
                case "--seed" -> seed = Long.parseLong(arguments[i + 1]);
                default -> throw new IllegalArgumentException(arguments[i]);
            }
        }
        System.out.println("seed " + seed + ", " + seconds + " s");
        LongRun run = new LongRun(arguments[0], seed);
        int status = 2;
        try {
            status = run.run(seconds);
        } catch (Throwable thrown) {
            thrown.printStackTrace();
        }
        System.exit(status);
    }

    private int run(long seconds) throws Exception {
        startConsumers();
        List<Thread> threads = new ArrayList<>();
        for (int i = 0; i < 2; i++) {
            threads.add(start("plain-" + i, this::producePlain));
        }
        threads.add(start("transaction", this::produceTransactions));
        threads.add(start("delay", this::produceDelayed));
        for (int queue = 0; queue < ORDERED_QUEUES; queue++) {
            int id = queue;
            threads.add(start("ordered-" + queue, random -> produceOrdered(random, id)));
        }
        long until = System.nanoTime() + TimeUnit.SECONDS.toNanos(seconds);
        while (System.nanoTime() < until) {
            Thread.sleep(Math.min(10_000, Math.max(1, (until - System.nanoTime()) / 1_000_000)));
            report("at " + (seconds - TimeUnit.NANOSECONDS.toSeconds(until - System.nanoTime())) + " s");
        }
        producing = false;
        for (Thread thread : threads) {
            thread.join();
        }
        System.out.println("producers stopped");
        System.out.flush();
        long started = System.nanoTime();
        while (missing() > 0 && TimeUnit.NANOSECONDS.toSeconds(System.nanoTime() - started) < DRAIN_SECONDS_MAX) {
            Thread.sleep(1_000);
        }
        // Time for what must not come.
        Thread.sleep(5_000);
        judge();
        report("end");
        problems.stream().limit(50).forEach(problem -> System.out.println("PROBLEM " + problem));
        System.out.println(problems.size() + " problems");
        return problems.isEmpty() ? 0 : 1;
    }

    private interface Work {
        void run(Random random) throws Exception;
    }

    private Thread start(String name, Work work) {
        Random random = new Random(seeds.nextLong());
        Thread thread = new Thread(() -> {
            try {
                work.run(random);
            } catch (Throwable thrown) {
                problems.add(name + " ended: " + thrown);
            }
        }, name);
        thread.start();
        return thread;
    }

    private String topic(String kind) {
        return "Long_" + kind + "_" + suffix;
    }

    private String instance() {
        return "long-" + instances.getAndIncrement() + "-" + suffix;
    }

    // ---- producers ----

    private <P extends DefaultMQProducer> P started(P producer) throws Exception {
        producer.setNamesrvAddr(nameServer);
        producer.setInstanceName(instance());
        producer.setSendMsgTimeout(3_000);
        producer.setRetryTimesWhenSendFailed(0);
        producer.setPollNameServerInterval(1_000);
        producer.setHeartbeatBrokerInterval(1_000);
        producer.start();
        return producer;
    }

    private void producePlain(Random random) throws Exception {
        DefaultMQProducer producer = started(new DefaultMQProducer("LongA_" + suffix));
        Account account = accounts.get("plain");
        for (int number = 0; producing; number++) {
            String id = Thread.currentThread().getName() + "/" + number;
            byte[] body = new byte[10 + random.nextInt(3_000)];
            Message message = new Message(topic("plain"), "tag" + number % 3, id, body);
            send(account, id, () -> producer.send(message));
            Thread.sleep(random.nextInt(4));
        }
    }

    private interface Send {
        SendResult send() throws Exception;
    }

    /** Sends once; whether it is known to be stored. */
    private boolean send(Account account, String id, Send send) throws InterruptedException {
        try {
            SendStatus status = send.send().getSendStatus();
            boolean stored = status == SendStatus.SEND_OK;
            account.sent.put(id, stored ? Fate.STORED : Fate.UNKNOWN);
            return stored;
        } catch (InterruptedException e) {
            throw e;
        } catch (Exception e) {
            account.sent.put(id, Fate.UNKNOWN);
            Thread.sleep(100);
            return false;
        }
    }

    /** Decided by the id alone, so that whoever is asked says the same. */
    private static LocalTransactionState decision(String id) {
        return id.hashCode() % 4 == 0 ? LocalTransactionState.ROLLBACK_MESSAGE : LocalTransactionState.COMMIT_MESSAGE;
    }

    private void produceTransactions(Random random) throws Exception {
        TransactionMQProducer producer = new TransactionMQProducer("LongT_" + suffix);
        producer.setTransactionListener(new TransactionListener() {
            @Override
            public LocalTransactionState executeLocalTransaction(Message message, Object argument) {
                return (Boolean) argument ? LocalTransactionState.UNKNOW : decision(message.getKeys());
            }

            @Override
            public LocalTransactionState checkLocalTransaction(MessageExt message) {
                return decision(message.getKeys());
            }
        });
        started(producer);
        Account account = accounts.get("transaction");
        for (int number = 0; producing; number++) {
            String id = "transaction/" + number;
            boolean unknown = random.nextInt(5) == 0;
            Message message = new Message(topic("transaction"), "tag", id, new byte[100]);
            send(account, id, () -> producer.sendMessageInTransaction(message, unknown));
            Thread.sleep(random.nextInt(20));
        }
    }

    private void produceDelayed(Random random) throws Exception {
        DefaultMQProducer producer = started(new DefaultMQProducer("LongD_" + suffix));
        for (int number = 0; producing; number++) {
            boolean timed = number % 2 == 1;
            int[] delay = DELAYS[random.nextInt(DELAYS.length)];
            int delayMs = timed ? 200 + random.nextInt(12_000) : delay[1];
            String id = (timed ? "timer/" : "delay/") + number;
            Message message = new Message(topic(timed ? "timer" : "delay"), "tag", id, new byte[100]);
            message.putUserProperty("due", Long.toString(System.currentTimeMillis() + delayMs));
            if (timed) {
                org.apache.rocketmq.common.message.MessageAccessor.putProperty(message, "TIMER_DELAY_MS", Integer.toString(delayMs));
            } else {
                message.setDelayTimeLevel(delay[0]);
            }
            send(accounts.get(timed ? "timer" : "delay"), id, () -> producer.send(message));
            Thread.sleep(random.nextInt(20));
        }
    }

    /** The next message is not sent before this one is known to be stored. */
    private void produceOrdered(Random random, int queue) throws Exception {
        DefaultMQProducer producer = started(new DefaultMQProducer("LongO_" + suffix));
        Account account = accounts.get("ordered");
        for (int number = 0; producing; number++) {
            String id = queue + "/" + number;
            Message message = new Message(topic("ordered"), "tag", id, new byte[100]);
            boolean stored = false;
            while (!stored) {
                stored = send(account, id, () -> producer.send(message, (queues, m, argument) -> {
                    List<MessageQueue> sorted = new ArrayList<>(queues);
                    Collections.sort(sorted);
                    return sorted.get((Integer) argument);
                }, queue));
                if (!stored && !producing) {
                    return;
                }
            }
            Thread.sleep(random.nextInt(10));
        }
    }

    // ---- consumers ----

    private DefaultMQPushConsumer consumer(String group, String kind) throws Exception {
        DefaultMQPushConsumer consumer = new DefaultMQPushConsumer(group + "_" + suffix);
        consumer.setNamesrvAddr(nameServer);
        consumer.setInstanceName(instance());
        consumer.setConsumeFromWhere(ConsumeFromWhere.CONSUME_FROM_FIRST_OFFSET);
        consumer.setPollNameServerInterval(1_000);
        consumer.setHeartbeatBrokerInterval(1_000);
        consumer.setPersistConsumerOffsetInterval(1_000);
        consumer.subscribe(topic(kind), "*");
        return consumer;
    }

    private void note(Account account, MessageExt message) {
        account.deliveries.incrementAndGet();
        // A retry lies in another queue; the unique key of its first place is what counts.
        String place = message.getReconsumeTimes() > 0 ? "retry" : message.getQueueId() + "/" + message.getQueueOffset();
        account.seen.computeIfAbsent(message.getKeys(), key -> ConcurrentHashMap.newKeySet()).add(place);
    }

    private void startConsumers() throws Exception {
        try (Target target = new Target(nameServer, 0, false, null)) {
            Bed bed = new Bed(target);
            for (String kind : List.of("plain", "transaction", "delay", "timer")) {
                bed.createTopic(topic(kind), QUEUES, Bed.READ_AND_WRITE);
            }
            bed.createTopic(topic("ordered"), ORDERED_QUEUES, Bed.READ_AND_WRITE);
        }
        for (int i = 0; i < 2; i++) {
            DefaultMQPushConsumer plain = consumer("plain", "plain");
            plain.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
                MessageExt message = messages.get(0);
                if (message.getKeys().hashCode() % 50 == 0 && failedOnce.add(message.getKeys())) {
                    context.setDelayLevelWhenNextConsume(1);
                    retried.incrementAndGet();
                    return ConsumeConcurrentlyStatus.RECONSUME_LATER;
                }
                note(accounts.get("plain"), message);
                return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
            });
            plain.start();
            Account own = accounts.get("broadcast-" + i);
            DefaultMQPushConsumer broadcast = consumer("broadcast", "plain");
            Generation.broadcast(broadcast);
            broadcast.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
                messages.forEach(message -> note(own, message));
                return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
            });
            broadcast.start();
            startOrdered();
        }
        for (String kind : List.of("transaction", "delay", "timer")) {
            DefaultMQPushConsumer consumer = consumer(kind, kind);
            consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
                messages.forEach(message -> noteDue(kind, message));
                return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
            });
            consumer.start();
        }
    }

    private void noteDue(String kind, MessageExt message) {
        String due = message.getUserProperty("due");
        // The broker counts from when the message came, which is not before it was made.
        if (due != null && message.getStoreTimestamp() < Long.parseLong(due)) {
            problems.add(message.getKeys() + " came " + (Long.parseLong(due) - message.getStoreTimestamp()) + " ms early");
        }
        note(accounts.get(kind), message);
    }

    /** First sights of a queue's messages are in the order in which they were sent. */
    private final Map<Integer, Integer> lastOrdered = new ConcurrentHashMap<>();

    private void startOrdered() throws Exception {
        DefaultMQPushConsumer consumer = consumer("ordered", "ordered");
        consumer.registerMessageListener((MessageListenerOrderly) (messages, context) -> {
            for (MessageExt message : messages) {
                String[] parts = message.getKeys().split("/");
                int queue = Integer.parseInt(parts[0]);
                int number = Integer.parseInt(parts[1]);
                int last = lastOrdered.getOrDefault(queue, -1);
                if (number > last + 1) {
                    problems.add("ordered queue " + queue + ": " + number + " after " + last);
                }
                lastOrdered.put(queue, Math.max(last, number));
                note(accounts.get("ordered"), message);
            }
            return ConsumeOrderlyStatus.SUCCESS;
        });
        consumer.start();
    }

    // ---- the account ----

    private Map<String, Fate> expected(String kind) {
        return accounts.get(kind.startsWith("broadcast") ? "plain" : kind).sent;
    }

    private boolean mustCome(String kind, Map.Entry<String, Fate> sent) {
        boolean rolledBack = kind.equals("transaction") && decision(sent.getKey()) == LocalTransactionState.ROLLBACK_MESSAGE;
        return sent.getValue() == Fate.STORED && !rolledBack;
    }

    private long missing() {
        long missing = 0;
        for (String kind : accounts.keySet()) {
            Set<String> seen = accounts.get(kind).seen.keySet();
            missing += expected(kind).entrySet().stream().filter(sent -> mustCome(kind, sent) && !seen.contains(sent.getKey())).count();
        }
        return missing;
    }

    private void judge() {
        for (String kind : accounts.keySet()) {
            Account account = accounts.get(kind);
            Map<String, Fate> sent = expected(kind);
            for (Map.Entry<String, Fate> one : sent.entrySet()) {
                if (mustCome(kind, one) && !account.seen.containsKey(one.getKey())) {
                    problems.add(kind + ": " + one.getKey() + " is lost");
                }
            }
            for (Map.Entry<String, Set<String>> one : account.seen.entrySet()) {
                Fate fate = sent.get(one.getKey());
                if (fate == null) {
                    problems.add(kind + ": " + one.getKey() + " was never sent");
                } else if (kind.equals("transaction") && decision(one.getKey()) == LocalTransactionState.ROLLBACK_MESSAGE) {
                    problems.add("transaction: " + one.getKey() + " was rolled back and came");
                } else if (kind.equals("plain") && fate == Fate.STORED && one.getValue().stream().filter(place -> !place.equals("retry")).count() > 1) {
                    problems.add(kind + ": " + one.getKey() + " is stored more than once, at " + one.getValue());
                }
            }
        }
    }

    private void report(String when) {
        StringBuilder text = new StringBuilder(when).append(':');
        for (String kind : accounts.keySet()) {
            Account account = accounts.get(kind);
            Map<String, Fate> sent = expected(kind);
            long unknown = sent.values().stream().filter(fate -> fate == Fate.UNKNOWN).count();
            text.append(String.format(" %s %d sent (%d unknown) %d seen %d deliveries;", kind, sent.size(), unknown, account.seen.size(), account.deliveries.get()));
        }
        System.out.println(text + " retried " + retried.get() + ", missing " + missing());
        System.out.flush();
    }
}
