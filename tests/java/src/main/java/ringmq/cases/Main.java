// Runs the cases against one installation. Arguments: NAMESRV [--cases a,b] [--messages N] [--reference 550|497]
// [--phase before-restart|after-restart --state FILE] | --list. `--reference` is the Java version whose answers are expected where 4.9.7 and 5.5.0 differ.
// One line per case, then `N passed, N failed`; exit status 1 when a case failed.
package ringmq.cases;

import java.util.ArrayList;
import java.util.Arrays;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.concurrent.ExecutorService;
import java.util.concurrent.Executors;
import java.util.concurrent.Future;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.TimeoutException;
import org.apache.rocketmq.common.MQVersion;

public final class Main {
    private static final int TOGETHER = 8;

    private final Target target;
    private int passed;
    private int failed;

    private Main(Target target) {
        this.target = target;
    }

    static List<Case> everyCase() {
        return List.of(new ManyProducers(), new LongPoll(), new TagFilter(), new SqlFilter(), new RestartBefore(), new QueueLocks(), new LitePull(), new Rebalance(),
                new Oversize(), new Broadcast(), new AutoTopic(), new TopicAdmin(), new GroupAdmin(), new Pull(), new Offsets(), new IllegalTopic(),
                new HeaderType(), new Delays(), new Retries(), new Transactions(), new Control(), new RequestReply(), new Statistics(), new Queries(),
                new Contents());
    }

    public static void main(String[] arguments) throws Exception {
        // How often an ordered consumer asks again for locks, and how long it keeps those of a queue it lost: the defaults are 20 s each.
        System.setProperty("rocketmq.client.rebalance.lockInterval", "2000");
        System.setProperty("rocketmq.client.unlockDelayTimeMills", "2000");
        Map<String, String> options = options(arguments);
        if (options.containsKey("--list")) {
            everyCase().forEach(one -> System.out.println(one.name()));
            return;
        }
        boolean afterRestart = "after-restart".equals(options.get("--phase"));
        List<Case> cases = new ArrayList<>(afterRestart ? List.of(new RestartAfter()) : everyCase());
        if (options.get("--phase") == null) {
            cases.removeIf(one -> one instanceof RestartBefore);
        }
        if (options.get("--cases") != null) {
            List<String> wanted = Arrays.asList(options.get("--cases").split(","));
            cases.removeIf(one -> !wanted.contains(one.name()));
        }
        // Some client threads are no daemons: they would keep the JVM alive behind a return or an exception.
        System.exit(run(options, cases));
    }

    private static int run(Map<String, String> options, List<Case> cases) {
        System.out.println("# client " + MQVersion.getVersionDesc(MQVersion.CURRENT_VERSION) + ", headers "
                + System.getProperty("rocketmq.serialize.type", "JSON") + ", " + cases.size() + " cases");
        int messages = Integer.parseInt(options.getOrDefault("--messages", "10000"));
        boolean old = "497".equals(options.get("--reference"));
        try (Target target = new Target(options.get("namesrv"), messages, old, options.get("--state"))) {
            Main main = new Main(target);
            main.runAll(cases);
            System.out.println(main.passed + " passed, " + main.failed + " failed");
            return main.failed == 0 ? 0 : 1;
        } catch (Exception e) {
            e.printStackTrace();
            return 2;
        }
    }

    private static Map<String, String> options(String[] arguments) {
        List<String> known = List.of("--cases", "--messages", "--phase", "--reference", "--state");
        Map<String, String> options = new TreeMap<>();
        for (int i = 0; i < arguments.length; i++) {
            if (known.contains(arguments[i]) && i + 1 < arguments.length) {
                options.put(arguments[i], arguments[++i]);
            } else if (arguments[i].equals("--list")) {
                options.put("--list", "");
            } else if (!arguments[i].startsWith("--") && !options.containsKey("namesrv")) {
                options.put("namesrv", arguments[i]);
            } else {
                usage("unknown argument " + arguments[i]);
            }
        }
        if (!options.containsKey("namesrv") && !options.containsKey("--list")) {
            usage("no name server address");
        }
        return options;
    }

    private static void usage(String why) {
        System.err.println(why + "\nusage: NAMESRV [--cases a,b] [--messages N] [--reference 550|497] [--phase before-restart|after-restart --state FILE] | --list");
        System.exit(2);
    }

    private void runAll(List<Case> cases) throws InterruptedException {
        for (Case one : cases) {
            if (one.alone()) {
                runOne(one);
            }
        }
        ExecutorService pool = Executors.newFixedThreadPool(TOGETHER);
        for (Case one : cases) {
            if (!one.alone()) {
                pool.submit(() -> runOne(one));
            }
        }
        pool.shutdown();
        pool.awaitTermination(10, TimeUnit.MINUTES);
    }

    private void runOne(Case one) {
        long start = System.nanoTime();
        ExecutorService runner = Executors.newSingleThreadExecutor(work -> {
            Thread thread = new Thread(work, "case-" + one.name());
            thread.setDaemon(true);
            return thread;
        });
        String why = null;
        String detail = "";
        Bed bed = new Bed(target);
        try {
            Future<String> result = runner.submit(() -> one.run(bed));
            detail = result.get(one.limitSeconds(), TimeUnit.SECONDS);
        } catch (TimeoutException e) {
            why = "not done within " + one.limitSeconds() + " s; " + where(one);
        } catch (Exception e) {
            why = describe(e.getCause() == null ? e : e.getCause());
        }
        runner.shutdownNow();
        bed.close();
        report(one.name(), detail, why, Bed.millisSince(start));
    }

    private static String where(Case one) {
        for (var entry : Thread.getAllStackTraces().entrySet()) {
            if (entry.getKey().getName().equals("case-" + one.name())) {
                return "at " + ownFrames(entry.getValue());
            }
        }
        return "";
    }

    private static String describe(Throwable thrown) {
        return oneLine(thrown instanceof AssertionError ? thrown.getMessage() : thrown.toString()) + " at " + ownFrames(thrown.getStackTrace());
    }

    private static List<String> ownFrames(StackTraceElement[] trace) {
        List<String> frames = new ArrayList<>();
        for (StackTraceElement frame : trace) {
            if (frame.getClassName().startsWith("ringmq.cases.") && !frame.getClassName().equals("ringmq.cases.Bed") && frames.size() < 2) {
                frames.add(frame.getFileName() + ":" + frame.getLineNumber());
            }
        }
        return frames;
    }

    private static String oneLine(String text) {
        String line = String.valueOf(text).replaceAll("\\s+", " ");
        return line.length() > 600 ? line.substring(0, 600) + "…" : line;
    }

    private synchronized void report(String name, String detail, String why, long tookMs) {
        if (why == null) {
            passed++;
            System.out.printf("PASS %-16s %s (%.1f s)%n", name, detail, tookMs / 1000.0);
        } else {
            failed++;
            System.out.printf("FAIL %-16s %s (%.1f s)%n", name, why, tookMs / 1000.0);
        }
        System.out.flush();
    }
}
