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
import org.apache.rocketmq.remoting.RPCHook;
import org.apache.rocketmq.remoting.protocol.RemotingCommand;

final class RequestReply implements Case {
    private static final int PUSH_REPLY_MESSAGE_TO_CLIENT = 326;
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
        List<AtomicInteger> pushed = List.of(new AtomicInteger(), new AtomicInteger());
        List<DefaultMQProducer> requesters = List.of(requester(bed, pushed.get(0)), requester(bed, pushed.get(1)));
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
        // The requesters of one JVM share the table of what they wait for: the answers alone do not say to whom they were sent.
        Bed.same("replies sent to each requester", List.of(CALLS / 2 + 1, CALLS / 2 + 1).toString(), pushed.toString());
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

    private static DefaultMQProducer requester(Bed bed, AtomicInteger pushed) throws Exception {
        DefaultMQProducer producer = new DefaultMQProducer(bed.name("requesters"), new RPCHook() {
            @Override
            public void doBeforeRequest(String remote, RemotingCommand request) {
                if (request.getCode() == PUSH_REPLY_MESSAGE_TO_CLIENT) {
                    pushed.incrementAndGet();
                }
            }

            @Override
            public void doAfterResponse(String remote, RemotingCommand request, RemotingCommand response) {}
        });
        producer.setNamesrvAddr(bed.target.nameServer);
        producer.setInstanceName(bed.instance());
        producer.setSendMsgTimeout(10_000);
        producer.start();
        bed.closeLater(producer::shutdown);
        return producer;
    }
}
