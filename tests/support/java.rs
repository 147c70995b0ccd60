//! Stock Java brokers for tests, fetched by `tests/java/run.sh --prepare`.

use super::free_ports;
use std::fs;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// A released broker.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Version {
    /// 4.9.7.
    V497,
    /// 5.5.0.
    V550,
}

impl Version {
    fn class_path(self) -> PathBuf {
        let folder = match self {
            Version::V497 => "reference-4.9.7",
            Version::V550 => "reference-5.5.0",
        };
        let tests = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/java/target");
        tests.join(folder).join("classpath.txt")
    }
}

/// Whether the brokers are there. Panics when they must be (`RINGMQ_JAVA=yes`) and are not.
pub(crate) fn is_available() -> bool {
    let is_there = Version::V497.class_path().exists() && Version::V550.class_path().exists();
    let required = std::env::var("RINGMQ_JAVA").is_ok_and(|value| value == "yes");
    assert!(is_there || !required, "tests/java/run.sh --prepare has not run");
    is_there
}

/// A Java process that serves; it is killed with its guard.
struct Java(Child);

impl Java {
    /// Starts a class of RocketMQ with a configuration file and waits until it says that it serves.
    fn start(home: &Path, version: Version, (class, config): (&str, &str)) -> Java {
        let name = class.rsplit('.').next().unwrap();
        fs::create_dir_all(home.join("conf")).unwrap();
        // 4.9.7 does not start without these.
        for name in ["logback_broker.xml", "logback_namesrv.xml"] {
            fs::write(
                home.join("conf").join(name),
                "<configuration><root level=\"OFF\"/></configuration>",
            )
            .unwrap();
        }
        let file = home.join(format!("{name}.conf"));
        fs::write(&file, config).unwrap();
        let class_path = fs::read_to_string(version.class_path()).unwrap();
        let log = fs::OpenOptions::new().create(true).append(true).open(home.join("out")).unwrap();
        let mut command = Command::new("java");
        command.args(["-Xms256m", "-Xmx512m", "-XX:TieredStopAtLevel=1"]);
        for module in ["java.nio", "sun.nio.ch", "jdk.internal.ref"] {
            command.arg("--add-opens").arg(format!("java.base/{module}=ALL-UNNAMED"));
        }
        command.arg("-Djava.net.preferIPv4Stack=true").arg("-Drocketmq.namesrv.addr=127.0.0.1:9");
        command.arg(format!("-Duser.home={}", home.display()));
        command.arg(format!("-Drocketmq.home.dir={}", home.display()));
        command.arg("-cp").arg(class_path.trim());
        command.arg(class).arg("-c").arg(&file);
        command.env_remove("NAMESRV_ADDR").stdin(Stdio::null()).stdout(Stdio::piped()).stderr(log);
        let mut child = Java(command.spawn().expect("java is installed"));
        let stdout = child.0.stdout.take().unwrap();
        let (send, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let _ = send.send(line);
            }
        });
        let mut said = Vec::new();
        let deadline = Instant::now() + Duration::from_secs(120);
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match lines.recv_timeout(left) {
                Ok(line) if line.contains("boot success") => return child,
                Ok(line) => said.push(line),
                Err(_) => panic!("{name} does not start: {}", said.join("\n")),
            }
        }
    }
}

impl Drop for Java {
    fn drop(&mut self) {
        if self.0.try_wait().is_ok_and(|status| status.is_none()) {
            let _ = self.0.kill();
            let _ = self.0.wait();
        }
    }
}

/// A running Java name server.
pub(crate) struct JavaNameServer {
    _java: Java,
    /// Where it listens.
    pub(crate) address: SocketAddr,
}

impl JavaNameServer {
    /// Starts with nothing known and waits until it serves.
    pub(crate) fn start(home: &Path, version: Version) -> JavaNameServer {
        let (_, port) = free_ports();
        let config = format!("bindAddress=127.0.0.1\nlistenPort={port}\n");
        let class = "org.apache.rocketmq.namesrv.NamesrvStartup";
        let java = Java::start(home, version, (class, &config));
        JavaNameServer { _java: java, address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)) }
    }
}

/// A running Java broker, without a name server unless its configuration names one.
pub(crate) struct JavaBroker {
    java: Java,
    /// Where it listens.
    pub(crate) address: SocketAddr,
}

impl JavaBroker {
    /// Starts on a store and waits until it serves.
    pub(crate) fn start(store: &Path, version: Version, config: &str) -> JavaBroker {
        let home = store.parent().unwrap().join("java-home");
        let (port, _) = free_ports();
        let text = format!(
            "{config}\nlistenPort={port}\nbrokerName=broker-a\nbrokerIP1=127.0.0.1\nbindAddress=127.0.0.1\nstorePathRootDir={store}\n\
             storePathCommitLog={store}/commitlog\nbrokerClusterName=GoldCluster\n",
            store = store.display()
        );
        let java = Java::start(&home, version, ("org.apache.rocketmq.broker.BrokerStartup", &text));
        JavaBroker { java, address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)) }
    }

    /// An orderly stop.
    pub(crate) fn stop(mut self) {
        let pid = i32::try_from(self.java.0.id()).unwrap();
        let pid = rustix::process::Pid::from_raw(pid).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        self.java.0.wait().unwrap();
    }

    /// `kill -9`.
    pub(crate) fn kill(mut self) {
        self.java.0.kill().unwrap();
        self.java.0.wait().unwrap();
    }
}
