//! Nothing lost: the server, its database and its commands are killed at any instant, or asked for more than they can do, and a ledger
//! that the clients keep says what must hold afterwards. docs/reliability.md tells what was found.

mod aim;
mod chance;
mod device;
mod family;
mod keys;
mod kills;
mod logout;
mod migration;
mod operators;
mod overload;
mod stage;
mod visit;
