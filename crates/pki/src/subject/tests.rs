//! Names written, read, and refused.

use super::*;

#[test]
fn directory_names_keep_every_part_in_order() {
    let text = "CN=AD Root,OU=b,OU=a,DC=example,DC=com";
    let name: Subject = text.parse().unwrap();
    assert_eq!(name.to_string(), text);
    assert_eq!(Subject::from_der(name.der()).unwrap(), name);
    assert_eq!(name.first_common_name().as_deref(), Some("AD Root"));
}

#[test]
fn what_is_special_is_escaped_and_comes_back() {
    for text in ["CN=a\\,b\\+c\\=d", "CN=\\#x\\ ", "CN=Zoë \\\\ 株式会社", "CN=a+OU=b,O=c", "1.2.3.4=#0c0161"]
    {
        let name: Subject = text.parse().unwrap();
        assert_eq!(name.to_string().parse::<Subject>().unwrap(), name, "{text}");
    }
    assert_eq!("cn = x , o = y".parse::<Subject>().unwrap().to_string(), "CN=x,O=y");
    assert_eq!("CN=\\C3\\BC".parse::<Subject>().unwrap().to_string(), "CN=ü");
    assert!("".parse::<Subject>().unwrap().is_empty());
}

#[test]
fn what_is_no_name_is_refused_with_its_reason() {
    for (text, said) in [
        ("web-1", "TYPE=value"),
        ("XX=1", "attribute type"),
        ("C=DEU", "1 to 2 characters"),
        ("C=D1", "two letters"),
        ("DC=ü", "ASCII"),
        ("CN=", "1 to 64"),
        ("CN=a,", "TYPE=value"),
    ] {
        let error = text.parse::<Subject>().unwrap_err().to_string();
        assert!(error.contains(said), "{text}: {error}");
    }
    assert!(Subject::common_name(&"x".repeat(65)).is_err());
    assert!(Subject::common_name(&"ü".repeat(64)).is_ok());
}
