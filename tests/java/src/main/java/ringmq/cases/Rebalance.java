// While messages flow, a second consumer joins and leaves: queues are divided anew each time and nothing is lost.
package ringmq.cases;

import java.util.TreeSet;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.producer.DefaultMQProducer;

final class Rebalance implements Case {
    private static final int QUEUES = 8;
    /** Clients divide queues anew every 20 s by themselves; within less they must have been told by the broker. */
    private static final int TOLD_SECONDS = 15;

    @Override
    public String name() {
        return "rebalance";
    }

    @Override
    public String run(Bed bed) throws Exception {
        String topic = bed.topic("Rebalance", QUEUES);
        String group = bed.name("rebalance");
        Ledger ledger = new Ledger();
        DefaultMQPushConsumer first = consumer(bed, topic, group, ledger, "first");
        first.start();
        Bed.await("all queues for the first", 30, () -> Bed.assigned(first, topic).size() == QUEUES);
        AtomicBoolean stop = new AtomicBoolean();
        AtomicInteger sent = new AtomicInteger();
        DefaultMQProducer producer = bed.producer();
        Thread sender = new Thread(() -> {
            try {
                for (int i = 0; !stop.get(); i++) {
                    producer.send(Bed.message(topic, "T", "m" + i), bed.queues(topic, QUEUES).get(i % QUEUES));
                    sent.incrementAndGet();
                    Thread.sleep(3);
                }
            } catch (Exception e) {
                sent.set(Integer.MIN_VALUE);
            }
        });
        sender.start();
        DefaultMQPushConsumer second = consumer(bed, topic, group, ledger, "second");
        long start = System.nanoTime();
        second.start();
        Bed.await("half of the queues for the second", TOLD_SECONDS, () -> divided(first, second, topic));
        long joinedMs = Bed.millisSince(start);
        Bed.await("messages at the second", 20, () -> ledger.of("second") > 100);
        second.shutdown();
        long leftMs = Bed.await("all queues for the first again", TOLD_SECONDS, () -> Bed.assigned(first, topic).size() == QUEUES);
        int before = ledger.of("first");
        Bed.await("messages at the first", 20, () -> ledger.of("first") > before + 100);
        stop.set(true);
        sender.join();
        Bed.check(sent.get() > 0, "a send failed");
        Bed.await("all messages", 30, () -> ledger.distinct() == sent.get());
        return String.format("joined after %d ms, taken over %d ms after it left; all %d messages received, shares %s, %d redelivered", joinedMs, leftMs,
                sent.get(), ledger.shares(), ledger.redelivered());
    }

    private static DefaultMQPushConsumer consumer(Bed bed, String topic, String group, Ledger ledger, String label) throws Exception {
        DefaultMQPushConsumer consumer = bed.push(group);
        consumer.subscribe(topic, "*");
        ledger.listen(consumer, label);
        return consumer;
    }

    private static boolean divided(DefaultMQPushConsumer first, DefaultMQPushConsumer second, String topic) {
        TreeSet<Integer> mine = Bed.assigned(first, topic);
        TreeSet<Integer> yours = Bed.assigned(second, topic);
        TreeSet<Integer> all = new TreeSet<>(mine);
        all.addAll(yours);
        return mine.size() == QUEUES / 2 && yours.size() == QUEUES / 2 && all.size() == QUEUES;
    }
}
