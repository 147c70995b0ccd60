// Queue locks: asked by hand they exclude another client; ordered consumers never work on one queue at the same time, also while one joins and leaves.
package ringmq.cases;

import java.util.ArrayList;
import java.util.List;
import java.util.Map;
import java.util.TreeSet;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import java.util.regex.Matcher;
import java.util.regex.Pattern;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeOrderlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerOrderly;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.message.MessageExt;
import org.apache.rocketmq.remoting.protocol.RemotingCommand;

final class QueueLocks implements Case {
    private static final int LOCK = 41;
    private static final int UNLOCK = 42;
    private static final int QUEUES = 4;
    private static final int MESSAGES_LATER = 80;

    private final Ledger ledger = new Ledger();
    private final Map<Integer, AtomicInteger> inside = new ConcurrentHashMap<>();
    private final List<String> together = new ArrayList<>();

    @Override
    public String name() {
        return "queue-locks";
    }

    @Override
    public int limitSeconds() {
        return 150;
    }

    @Override
    public String run(Bed bed) throws Exception {
        String topic = bed.topic("Locks", QUEUES);
        lockByHand(bed, topic);
        return orderedConsumers(bed, topic);
    }

    private static void lockByHand(Bed bed, String topic) throws Exception {
        String group = bed.name("byhand");
        Bed.same("locks of the first client", "[0, 1]", lock(bed, group, topic, "first", 0, 1));
        Bed.same("locks of the second client", "[2]", lock(bed, group, topic, "second", 0, 1, 2));
        Bed.same("locks of the first client again", "[0, 1]", lock(bed, group, topic, "first", 0, 1, 2));
        Bed.same("locks of another group", "[0, 1, 2]", lock(bed, bed.name("other"), topic, "third", 0, 1, 2));
        Bed.same("code of unlock", 0, bed.target.ask(UNLOCK, Map.of(), body(bed, group, topic, "first", 0)).getCode());
        Bed.same("code of a stranger's unlock", 0, bed.target.ask(UNLOCK, Map.of(), body(bed, group, topic, "second", 1)).getCode());
        Bed.same("locks of the second client after the unlock", "[0, 2]", lock(bed, group, topic, "second", 0, 1, 2));
    }

    /** Queue ids that the broker let the client lock. */
    private static String lock(Bed bed, String group, String topic, String client, int... ids) throws Exception {
        RemotingCommand answer = bed.target.ask(LOCK, Map.of(), body(bed, group, topic, client, ids));
        Bed.same("code of lock", 0, answer.getCode());
        TreeSet<Integer> locked = new TreeSet<>();
        Matcher matcher = Pattern.compile("\"queueId\":\\s*(\\d+)").matcher(Bed.text(answer.getBody()));
        while (matcher.find()) {
            locked.add(Integer.parseInt(matcher.group(1)));
        }
        return locked.toString();
    }

    private static byte[] body(Bed bed, String group, String topic, String client, int... ids) {
        List<String> queues = new ArrayList<>();
        for (int id : ids) {
            queues.add("{\"topic\":\"" + topic + "\",\"brokerName\":\"" + bed.target.broker + "\",\"queueId\":" + id + "}");
        }
        return Bed.bytes("{\"consumerGroup\":\"" + group + "\",\"clientId\":\"" + client + "\",\"onlyThisBroker\":false,\"mqSet\":[" + String.join(",", queues) + "]}");
    }

    private String orderedConsumers(Bed bed, String topic) throws Exception {
        String group = bed.name("ordered");
        DefaultMQPushConsumer first = ordered(bed, topic, group, "first");
        first.start();
        AtomicInteger sent = new AtomicInteger();
        AtomicBoolean stop = new AtomicBoolean();
        DefaultMQProducer producer = bed.producer();
        Thread sender = new Thread(() -> {
            try {
                while (!stop.get()) {
                    producer.send(Bed.message(topic, "T", "m" + sent.get()), bed.queues(topic, QUEUES).get(sent.get() % QUEUES));
                    sent.incrementAndGet();
                    Thread.sleep(10);
                }
            } catch (Exception e) {
                sent.set(Integer.MIN_VALUE);
            }
        });
        sender.start();
        Bed.await("messages at the first", 45, () -> ledger.of("first") >= MESSAGES_LATER);
        DefaultMQPushConsumer second = ordered(bed, topic, group, "second");
        second.start();
        long joinedMs = await("messages at the second", second, "second", MESSAGES_LATER);
        second.shutdown();
        long leftMs = Bed.await("all queues for the first again", 45, () -> {
            askAgain(first);
            return Bed.assigned(first, topic).size() == QUEUES;
        });
        await("messages at the first again", first, "first", ledger.of("first") + MESSAGES_LATER);
        stop.set(true);
        sender.join();
        Bed.check(sent.get() > 0, "a send failed");
        Bed.await("all messages", 40, () -> ledger.distinct() == sent.get());
        ledger.checkOrder();
        Bed.check(together.isEmpty(), "two consumers worked on one queue: %s", together);
        return String.format("locks exclude; ordered consumers: second worked after %d ms, taken over %d ms after it left; %d messages in order, %d redelivered, shares %s",
                joinedMs, leftMs, sent.get(), ledger.redelivered(), ledger.shares());
    }

    private DefaultMQPushConsumer ordered(Bed bed, String topic, String group, String label) throws Exception {
        DefaultMQPushConsumer consumer = bed.push(group);
        consumer.setConsumeThreadMin(4);
        consumer.setConsumeThreadMax(4);
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener((MessageListenerOrderly) (messages, context) -> {
            for (MessageExt message : messages) {
                AtomicInteger here = inside.computeIfAbsent(message.getQueueId(), id -> new AtomicInteger());
                if (here.incrementAndGet() != 1) {
                    together.add(label + " on queue " + message.getQueueId() + " offset " + message.getQueueOffset());
                }
                ledger.enter(label, message);
                sleep(2);
                here.decrementAndGet();
            }
            return ConsumeOrderlyStatus.SUCCESS;
        });
        return consumer;
    }

    private long await(String what, DefaultMQPushConsumer consumer, String label, int count) throws Exception {
        return Bed.await(what, 60, () -> {
            askAgain(consumer);
            return ledger.of(label) >= count;
        });
    }

    /** Older clients ask for a lock they did not get only every 20 s, which would make this case last. */
    private static void askAgain(DefaultMQPushConsumer consumer) throws InterruptedException {
        consumer.getDefaultMQPushConsumerImpl().getmQClientFactory().rebalanceImmediately();
        Thread.sleep(100);
    }

    private static void sleep(long millis) {
        try {
            Thread.sleep(millis);
        } catch (InterruptedException e) {
            Thread.currentThread().interrupt();
        }
    }
}
