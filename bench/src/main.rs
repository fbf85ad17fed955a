//! Lockgate beside what people run today.
mod backend;
mod contenders;
mod http;
mod load;
mod process;
mod slack;
mod tokens;
mod visitors;

pub(crate) type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

fn main() -> Result<()> {
    process::processors();
    let kit = contenders::Kit::new()?;
    use contenders::*;
    let issuer = kit.backend.issuer(1);
    let log = Deployment::of(Chain::Log);
    let whole = Deployment::of(Chain::Whole);
    for recipe in [
        kit.bare(1)?, kit.lockgate(&log)?, kit.lockgate(&whole)?,
        kit.lockgate(&Deployment{separate:true,..whole.clone()})?, kit.lockgate_run(&whole)?,
        kit.native(Guard::Nobody,&whole)?, kit.native(Guard::JwtAuthn(Some(1000)),&whole)?, kit.native(Guard::JwtAuthn(None),&whole)?, kit.native(Guard::JwtAuthnAlone,&whole)?, kit.native(Guard::OAuth2,&whole)?, kit.nginx(1)?,
        kit.native(Guard::JwtAuthn(None),&Deployment{routes:10,keys:10,..whole.clone()})?,
        kit.lockgate(&Deployment{routes:10,keys:10,..whole.clone()})?,
    ] {
        let c = recipe.serve();
        match c {
            Err(e) => println!("{} FAILED {e}", recipe.name),
            Ok(c) => {
                println!("{} {:?}", c.name, c.process.memory()?);
                let a = http::once(c.address, &slack::command(&slack::form(300,1), SLACK_SECRET));
                println!("   slack {:?}", a.map(|a| (a.status, String::from_utf8_lossy(&a.body).into_owned())));
                let t = visitors::token(&kit.signer, &issuer, 1)?;
                let t2 = visitors::token(&kit.signer, &issuer, 2)?;
                println!("   door {:?}", visitors::check_door(&kit.backend, c.address, &visitors::program(&t), tokens::PROGRAM, &visitors::program(&visitors::forged(&t,&t2))));
                if c.name.contains("Lockgate,") || c.name.starts_with("lockgate") { 
                    let s = visitors::signed_in(c.address);
                    println!("   signin {:?}", s.and_then(|s| visitors::check_door(&kit.backend, c.address, &visitors::page(&s), "alice@example.com", &visitors::page("lockgate=abc"))));
                }
                if c.name.contains("oauth2") { 
                    let s = visitors::signed_in_natively(c.address); println!("{}", recipe.said()); let s = s?;
                    println!("   cookie {s}");
                    println!("   signin {:?}", visitors::check_door(&kit.backend, c.address, &visitors::page(&s), "alice@example.com", &visitors::page("lockgate=abc")));
                }
                println!("{}", recipe.said());
            }
        }
    }
    Ok(())
}
