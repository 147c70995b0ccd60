// Request-reply: waiting and with a callback, many at once, from several requesters; a reply to nobody is refused to the replier.
package ringmq.cases;

import java.util.List;
import java.util.concurrent.CountDownLatch;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicInteger;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.client.consumer.listener.ConsumeConcurrentlyStatus;
import org.apache.rocketmq.client.consumer.listener.MessageListenerConcurrently;
import org.apache.rocketmq.client.exception.MQBrokerException;
import org.apache.rocketmq.client.exception.MQClientException;
import org.apache.rocketmq.client.producer.DefaultMQProducer;
import org.apache.rocketmq.client.producer.RequestCallback;
import org.apache.rocketmq.client.utils.MessageUtil;
import org.apache.rocketmq.common.message.Message;
import org.apache.rocketmq.common.message.MessageAccessor;
import org.apache.rocketmq.common.message.MessageConst;
import org.apache.rocketmq.common.message.MessageExt;

final class RequestReply implements Case {
    private static final int CALLS = 50;
    private static final int TIMEOUT_MS = 15_000;

    @Override
    public String name() {
        return "request-reply";
    }

    @Override
    public int limitSeconds() {
        return 90;
    }

    @Override
    public String run(Bed bed) throws Exception {
        String topic = bed.topic("Request", 2);
        DefaultMQProducer replier = bed.producer();
        AtomicInteger refused = new AtomicInteger();
        DefaultMQPushConsumer consumer = bed.push(bed.name("repliers"));
        consumer.subscribe(topic, "*");
        consumer.registerMessageListener((MessageListenerConcurrently) (messages, context) -> {
            for (MessageExt message : messages) {
                try {
                    replier.send(MessageUtil.createReplyMessage(message, Bed.bytes("re: " + Bed.text(message.getBody()))), 10_000);
                } catch (Exception e) {
                    refused.incrementAndGet();
                }
            }
            return ConsumeConcurrentlyStatus.CONSUME_SUCCESS;
        });
        consumer.start();
        List<DefaultMQProducer> requesters = List.of(bed.producer(), bed.producer());
        for (DefaultMQProducer requester : requesters) {
            Message answer = requester.request(new Message(topic, Bed.bytes("first")), TIMEOUT_MS);
            Bed.same("answer", "re: first", Bed.text(answer.getBody()));
        }
        CountDownLatch all = new CountDownLatch(CALLS);
        AtomicInteger wrong = new AtomicInteger();
        for (int i = 0; i < CALLS; i++) {
            String text = "call " + i;
            requesters.get(i % 2).request(new Message(topic, Bed.bytes(text)), new RequestCallback() {
                @Override
                public void onSuccess(Message answer) {
                    if (!Bed.text(answer.getBody()).equals("re: " + text)) {
                        wrong.incrementAndGet();
                    }
                    all.countDown();
                }

                @Override
                public void onException(Throwable e) {
                    System.out.println("# request-reply: " + e);
                    wrong.incrementAndGet();
                    all.countDown();
                }
            }, TIMEOUT_MS);
        }
        Bed.check(all.await(TIMEOUT_MS + 5_000, TimeUnit.MILLISECONDS), "%d calls without an end", all.getCount());
        Bed.same("wrong answers", 0, wrong.get());
        Bed.same("replies refused", 0, refused.get());
        Message lost = new Message(bed.target.cluster + "_REPLY_TOPIC", Bed.bytes("to nobody"));
        MessageAccessor.putProperty(lost, MessageConst.PROPERTY_MESSAGE_TYPE, "reply");
        MessageAccessor.putProperty(lost, MessageConst.PROPERTY_MESSAGE_REPLY_TO_CLIENT, "nobody");
        try {
            throw new AssertionError("a reply to nobody was not refused: " + replier.send(lost, 10_000));
        } catch (MQClientException e) {
            // The client wraps what the broker said.
            String reason = ((MQBrokerException) e.getCause()).getErrorMessage();
            Bed.check(reason.contains("channel of <nobody> not found"), "a reply to nobody: %s", reason);
        }
        return (CALLS + 2) + " answers; a reply to nobody is refused";
    }
}
