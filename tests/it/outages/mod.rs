//! What happens when the ground gives way: a database that is away, slow, silent, restarted, replaced by its standby, stuck or full;
//! replicas that come and go; a pooler in between. Real server processes on real sockets, and apps that write down what they were told.
//!
//! docs/reliability.md says what was found; each test's name is a sentence of it.

mod apps;
mod database;
mod failover;
mod front;
mod full;
mod hangups;
mod installation;
mod pooler;
mod replicas;
mod rolling;
mod versions;
mod wire;
