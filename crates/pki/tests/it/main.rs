//! The room as its users see it, judged by others: certificates made with rcgen, openssl's reading of
//! ours, and bytes that nobody meant.

mod away;
mod containers;
mod defaults;
mod foreign;
mod issued;
mod limbo;
mod offline;
mod openssl;
mod parsers;
mod peers;
mod plans;
mod readers;
mod requests;
mod secrets;
mod world;
