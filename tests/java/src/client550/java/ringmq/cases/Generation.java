// What differs in package only between the client generations, here for 5.5.0.
package ringmq.cases;

import java.util.Set;
import org.apache.rocketmq.remoting.protocol.subscription.SubscriptionGroupConfig;
import org.apache.rocketmq.remoting.protocol.heartbeat.MessageModel;
import org.apache.rocketmq.client.consumer.DefaultMQPushConsumer;
import org.apache.rocketmq.tools.admin.DefaultMQAdminExt;

final class Generation {
    private Generation() {}

    static void broadcast(DefaultMQPushConsumer consumer) {
        consumer.setMessageModel(MessageModel.BROADCASTING);
    }

    static void deleteRoute(DefaultMQAdminExt admin, String nameServer, String cluster, String topic) throws Exception {
        admin.deleteTopicInNameServer(Set.of(nameServer), cluster, topic);
    }

    static SubscriptionGroupConfig group(String name, int retryMaxTimes, int retryQueues, boolean broadcast) {
        SubscriptionGroupConfig config = new SubscriptionGroupConfig();
        config.setGroupName(name);
        config.setRetryMaxTimes(retryMaxTimes);
        config.setRetryQueueNums(retryQueues);
        config.setConsumeBroadcastEnable(broadcast);
        return config;
    }
}
