// A consumer that waits in a long poll gets a message at once; one that gets none is answered when its time is over.
package ringmq.cases;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.concurrent.CompletableFuture;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicLong;
import org.apache.rocketmq.client.consumer.DefaultMQPullConsumer;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.PullResult;
import org.apache.rocketmq.client.consumer.PullStatus;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.message.MessageQueue;

@SuppressWarnings("deprecation")
final class LongPoll implements Case {
    private static final int ROUNDS = 10;
    private static final long SUSPEND_MS = 15_000;
    /** Far above what any broker needs on a busy machine, below the 1 s of a broker that only looks now and then. */
    private static final long SANE_MEDIAN_MS = 500;
    /** Below the 5 s after which Java looks at waiting pulls anyway. */
    private static final long SANE_WORST_MS = 3_000;

    @Override
    public String name() {
        return "long-poll";
    }

    @Override
    public boolean alone() {
        return true;
    }

    @Override
    public String run(Bed bed) throws Exception {
        String topic = bed.topic("Wait", 1);
        MessageQueue queue = bed.queues(topic, 1).get(0);
        DefaultMQProducer producer = bed.producer();
        producer.send(Bed.message(topic, "T", "first"), queue);
        long[] pullUs = pullRounds(bed, producer, queue);
        long[] pushUs = pushRounds(bed, producer, queue);

        DefaultMQPullConsumer impatient = bed.pull(bed.name("impatient"));
        impatient.setBrokerSuspendMaxTimeMillis(1_000);
        long start = System.nanoTime();
        PullResult nothing = impatient.pullBlockIfNotFound(queue, "*", impatient.maxOffset(queue), 32);
        long waitedMs = Bed.millisSince(start);
        Bed.same("answer after a wait of 1 s for nothing", PullStatus.NO_NEW_MSG, nothing.getPullStatus());
        Bed.check(waitedMs >= 900 && waitedMs < 15_000, "a wait of 1 s for nothing took %d ms", waitedMs);
        return String.format("send to receipt: waiting pull %s, push consumer %s; 1 s wait for nothing answered after %d ms",
                figures(pullUs), figures(pushUs), waitedMs);
    }

    /** Two groups wait for each message; the time is that of the one that gets it last. */
    private long[] pullRounds(Bed bed, DefaultMQProducer producer, MessageQueue queue) throws Exception {
        List<DefaultMQPullConsumer> consumers = List.of(bed.pull(bed.name("pullers")), bed.pull(bed.name("others")));
        for (DefaultMQPullConsumer consumer : consumers) {
            consumer.setBrokerSuspendMaxTimeMillis(SUSPEND_MS);
            Bed.await("the first message in its queue", 20, () -> consumer.maxOffset(queue) == 1);
        }
        long[] times = new long[ROUNDS];
        for (int round = 0; round < ROUNDS; round++) {
            long offset = consumers.get(0).maxOffset(queue);
            List<CompletableFuture<Long>> received = new ArrayList<>();
            consumers.forEach(consumer -> received.add(waitFor(consumer, queue, offset)));
            Thread.sleep(100);
            Bed.check(received.stream().noneMatch(CompletableFuture::isDone), "a pull did not wait: %s", received);
            long start = System.nanoTime();
            producer.send(Bed.message(queue.getTopic(), "T", "pull-" + round), queue);
            for (CompletableFuture<Long> one : received) {
                times[round] = Math.max(times[round], (one.get(SUSPEND_MS * 2, TimeUnit.MILLISECONDS) - start) / 1_000);
            }
        }
        return times;
    }

    private static CompletableFuture<Long> waitFor(DefaultMQPullConsumer consumer, MessageQueue queue, long offset) {
        CompletableFuture<Long> received = new CompletableFuture<>();
        new Thread(() -> {
            try {
                PullResult result = consumer.pullBlockIfNotFound(queue, "*", offset, 32);
                long now = System.nanoTime();
                Bed.same("answer to a waiting pull", PullStatus.FOUND, result.getPullStatus());
                Bed.same("offset of the first message", offset, result.getMsgFoundList().get(0).getQueueOffset());
                received.complete(now);
            } catch (Throwable e) {
                received.completeExceptionally(e);
            }
        }).start();
        return received;
    }

    private long[] pushRounds(Bed bed, DefaultMQProducer producer, MessageQueue queue) throws Exception {
        DefaultMQPushConsumer consumer = bed.push(bed.name("pushed"));
        AtomicLong count = new AtomicLong();
        AtomicLong last = new AtomicLong();
        consumer.subscribe(queue.getTopic(), "*");
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            last.set(System.nanoTime());
            count.addAndGet(messages.size());
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.start();
        Bed.await("what was sent before", 20, () -> count.get() == 1 + ROUNDS);
        long[] times = new long[ROUNDS];
        for (int round = 0; round < ROUNDS; round++) {
            Thread.sleep(100);
            long expected = count.get() + 1;
            long start = System.nanoTime();
            producer.send(Bed.message(queue.getTopic(), "T", "push-" + round), queue);
            Bed.await("message of round " + round, 20, () -> count.get() == expected);
            times[round] = (last.get() - start) / 1_000;
        }
        return times;
    }

    private static String figures(long[] times) {
        long[] sorted = times.clone();
        Arrays.sort(sorted);
        long worst = sorted[sorted.length - 1];
        String figures = String.format("median %.1f ms, worst %.1f ms", sorted[sorted.length / 2] / 1e3, worst / 1e3);
        Bed.check(sorted[sorted.length / 2] < SANE_MEDIAN_MS * 1_000 && worst < SANE_WORST_MS * 1_000, "waiting consumers got their messages late: %s", figures);
        return figures;
    }
}
