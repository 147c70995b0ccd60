//! Arguments, as clap reads them, and what Java's tools accept beyond that.

use clap::{Args, Parser, Subcommand};
use std::ffi::OsString;
use std::path::{Path, PathBuf};

/// A message broker and name server for RocketMQ clients.
#[derive(Parser, Debug)]
#[command(name = "ringmq", version, arg_required_else_help = true, infer_long_args = true)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Command,
}

#[derive(Subcommand, Debug)]
pub(crate) enum Command {
    /// Name server and broker in one process, for this machine only
    Standalone(StandaloneArgs),
    /// A name server (mqnamesrv)
    Namesrv(ServerArgs),
    /// A broker (mqbroker)
    Broker(ServerArgs),
    /// Measure a broker
    #[command(disable_help_flag = true)]
    Bench {
        /// Arguments of the benchmark
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        arguments: Vec<OsString>,
    },
    /// Stop a process that was started from this executable (mqshutdown)
    Shutdown(ShutdownArgs),
    /// Look at a store, check it, repair it, while no broker runs
    Store(Box<super::store::StoreArgs>),
}

/// Flags of mqbroker and mqnamesrv.
#[derive(Args, Debug)]
pub(crate) struct ServerArgs {
    /// Properties file to read
    #[arg(short = 'c', long = "configFile", value_name = "FILE")]
    pub(crate) config_file: Option<PathBuf>,
    /// Name servers, e.g. '192.168.0.1:9876;192.168.0.2:9876' [env: NAMESRV_ADDR]
    #[arg(short = 'n', long = "namesrvAddr", value_name = "LIST")]
    pub(crate) namesrv_addr: Option<String>,
    /// Print all keys with their values and exit
    #[arg(short = 'p', long = "printConfigItem")]
    pub(crate) print_config_item: bool,
    /// Print the important keys with their values and exit
    #[arg(short = 'm', long = "printImportantConfig")]
    pub(crate) print_important_config: bool,
    /// Taken for the sake of existing scripts
    #[arg(long = "enable-proxy", hide = true)]
    pub(crate) enable_proxy: bool,
    /// A name for process listings: scripts look for Java's class names there
    #[arg(long = "as", hide = true, value_name = "NAME")]
    pub(crate) shown_as: Option<String>,
}

/// Flags of the process for one machine.
#[derive(Args, Debug)]
pub(crate) struct StandaloneArgs {
    /// Directory for all data
    #[arg(long, value_name = "DIR", default_value = "./ringmq-data")]
    pub(crate) data: PathBuf,
    /// Port of the broker; 2 below it and 1 above it are used too [default: 10911]
    #[arg(long, value_name = "PORT")]
    pub(crate) port: Option<u16>,
    /// Port of the name server
    #[arg(long = "namesrv-port", value_name = "PORT", default_value_t = 9876)]
    pub(crate) namesrv_port: u16,
    /// Shards of the broker; 0 is one per CPU [default: 0]
    #[arg(long, value_name = "N")]
    pub(crate) shards: Option<u16>,
    /// Take other ports when these are in use
    #[arg(long = "any-port")]
    pub(crate) any_port: bool,
    /// Properties file with further keys of the broker
    #[arg(short = 'c', long = "configFile", value_name = "FILE")]
    pub(crate) config_file: Option<PathBuf>,
}

/// Flags of mqshutdown.
#[derive(Args, Debug)]
pub(crate) struct ShutdownArgs {
    /// broker, namesrv or standalone
    pub(crate) process: Option<String>,
    /// Seconds to wait for the process to end
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    pub(crate) wait: u32,
}

/// Brings what Java's tools accept into clap's form: the name of the program as subcommand, and long options with
/// one dash.
pub(crate) fn normalised(arguments: Vec<OsString>) -> Vec<OsString> {
    const LONG: [&str; 4] =
        ["configFile", "namesrvAddr", "printConfigItem", "printImportantConfig"];
    let mut arguments = arguments.into_iter();
    let program = arguments.next().unwrap_or_else(|| OsString::from("ringmq"));
    let alias = Path::new(&program).file_name().and_then(|name| match name.to_str()? {
        "mqnamesrv" => Some("namesrv"),
        "mqbroker" => Some("broker"),
        "mqshutdown" => Some("shutdown"),
        _ => None,
    });
    let mut out = vec![program];
    out.extend(alias.map(OsString::from));
    for argument in arguments {
        let name = argument.to_str().and_then(|text| text.strip_prefix('-')).unwrap_or("");
        let name = name.split('=').next().unwrap_or("");
        if LONG.contains(&name) {
            let mut long = OsString::from("-");
            long.push(&argument);
            out.push(long);
        } else {
            out.push(argument);
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parsed(line: &str) -> Result<Command, clap::Error> {
        let words = line.split_whitespace().map(OsString::from).collect();
        Cli::try_parse_from(normalised(words)).map(|cli| cli.command)
    }

    fn server(line: &str) -> ServerArgs {
        match parsed(line) {
            Ok(Command::Broker(args) | Command::Namesrv(args)) => args,
            other => panic!("{line}: {other:?}"),
        }
    }

    #[test]
    fn flags_in_every_form_of_java() {
        for line in [
            "ringmq broker -n a:1 -c f",
            "ringmq broker -na:1 -cf",
            "mqbroker --namesrvAddr a:1 --configFile f",
            "/x/mqbroker -namesrvAddr a:1 -configFile=f",
            "mqnamesrv --namesrv=a:1 --config f",
            "mqbroker --as org.apache.rocketmq.broker.BrokerStartup -n a:1 -c f --enable-proxy",
        ] {
            let args = server(line);
            assert_eq!(args.namesrv_addr.as_deref(), Some("a:1"), "{line}");
            assert_eq!(args.config_file, Some(PathBuf::from("f")), "{line}");
        }
        assert!(server("mqbroker -pm").print_important_config);
    }

    #[test]
    fn bench_keeps_its_arguments() {
        let Ok(Command::Bench { arguments }) = parsed("ringmq bench send --size 1 -h") else {
            panic!("no bench")
        };
        assert_eq!(arguments, ["send", "--size", "1", "-h"]);
    }

    #[test]
    fn definitions_are_consistent() {
        use clap::CommandFactory;
        Cli::command().debug_assert();
    }
}
