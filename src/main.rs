//! `ringmq`: one executable; the subcommand picks the process.

fn main() {}
