//! Lockgate beside what people run today.
mod backend;
mod contenders;
mod http;
mod load;
mod process;
mod sections;
mod slack;
mod stats;
mod table;
mod tokens;
mod turns;
mod visitors;

pub(crate) type Result<T> = std::result::Result<T, Box<dyn std::error::Error + Send + Sync>>;

fn main() -> Result<()> {
    process::processors();
    process::place(None, process::Place::Harness)?;
    let kit = contenders::Kit::new()?;
    let effort = sections::Effort { rounds: 3, starts: 5, time: std::time::Duration::from_millis(700) };
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    for (name, measure) in sections::ALL {
        if !wanted.iter().any(|w| w == name) { continue; }
        for table in measure(&kit, &effort)? {
            println!("\n{}\n{}", table.title, table.how);
            for row in &table.rows {
                print!("{:45}", row.name);
                for q in &table.quantities {
                    match table.spread(row, q.id) { Some(s) => print!(" {}={:.*}", q.id, q.digits, s.median), None => print!(" -") }
                    if q.compared && let Some(r) = table.ratio(row, q.id) { print!(" ({:.2}x)", r.median); }
                }
                println!();
            }
        }
    }
    Ok(())
}
