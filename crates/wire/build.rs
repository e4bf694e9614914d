//! Compiles the protocol without protoc, so that nothing but Rust is needed to build.

fn main() -> Result<(), Box<dyn std::error::Error>> {
    println!("cargo:rerun-if-changed=proto");
    let files = protox::compile(["certus/v1/certus.proto"], ["proto"])?;
    // Their Debug is written by hand, without the secret in them (I7).
    let secret = [".certus.v1.JoinRequest", ".certus.v1.CreateTokenReply"];
    let codec = "crate::codec::SmallBuffers";
    tonic_prost_build::configure().skip_debug(secret).codec_path(codec).compile_fds(files)?;
    Ok(())
}
