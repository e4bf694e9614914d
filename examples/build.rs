//! Compiles the greeter's protocol without protoc.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let files = protox::compile(["greeter.proto"], ["proto"])?;
    tonic_prost_build::configure().compile_fds(files)?;
    Ok(())
}
