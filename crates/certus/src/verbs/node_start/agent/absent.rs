//! Stands in for `Node::start_agent` while the node has none: delete this file, and its two lines in
//! `agent.rs`, when it does. A method of the node's own takes precedence over this one.

use std::io;

use certus_node::{AgentOptions, FileError, Node, StartError};

pub(super) trait StartAgent {
    async fn start_agent(options: AgentOptions) -> Result<Node, StartError>;
}

impl StartAgent for Node {
    async fn start_agent(options: AgentOptions) -> Result<Node, StartError> {
        let (verb, error) = ("run an agent from", io::Error::from(io::ErrorKind::Unsupported));
        Err(StartError::File(FileError::Io { verb, path: options.data_dir, error }))
    }
}
