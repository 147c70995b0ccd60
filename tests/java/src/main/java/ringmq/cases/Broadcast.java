// Two broadcast consumers of one group: each receives every message; the broker keeps no offsets for them.
package ringmq.cases;

import java.util.List;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.common.message.MessageQueue;

final class Broadcast implements Case {
    private static final int QUEUES = 4;
    private static final int MESSAGES = 100;

    @Override
    public String name() {
        return "broadcast";
    }

    @Override
    public String run(Bed bed) throws Exception {
        String topic = bed.topic("Broadcast", QUEUES);
        String group = bed.name("broadcast");
        Ledger[] ledgers = {new Ledger(), new Ledger()};
        for (Ledger ledger : ledgers) {
            DefaultMQPushConsumer consumer = bed.push(group);
            Generation.broadcast(consumer);
            consumer.subscribe(topic, "*");
            ledger.listen(consumer, "all");
            consumer.start();
            Bed.await("all queues for a broadcast consumer", 30, () -> Bed.assigned(consumer, topic).size() == QUEUES);
        }
        DefaultMQProducer producer = bed.producer();
        List<MessageQueue> queues = bed.queues(topic, QUEUES);
        for (int i = 0; i < MESSAGES; i++) {
            producer.send(Bed.message(topic, "T", "m" + i), queues.get(i % QUEUES));
        }
        for (Ledger ledger : ledgers) {
            Bed.await("all messages at each broadcast consumer", 30, () -> ledger.distinct() == MESSAGES);
            ledger.checkOrder();
            Bed.same("redelivered", 0, ledger.redelivered());
        }
        for (MessageQueue queue : queues) {
            Bed.same("offset at the broker of " + queue, 0L, bed.pull(group).fetchConsumeOffset(queue, true));
        }
        return "each of 2 consumers received all " + MESSAGES + " messages once";
    }
}
