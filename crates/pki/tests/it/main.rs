//! The room as its users see it, judged by others: certificates made with rcgen, openssl's reading of
//! ours, and bytes that nobody meant.

mod away;
mod defaults;
mod foreign;
mod issued;
mod limbo;
mod offline;
mod openssl;
mod parsers;
mod peers;
mod plans;
mod requests;
mod readers;
mod secrets;
mod world;
