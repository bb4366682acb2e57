//! Finds ranks and links that are much slower than the others.

use tercet_protocol::says::doctor::{Finding, Level, LinkFacts, RankFacts};

use super::measure::{SLOW_LINK, SLOW_RANK, median};
use super::wording::named;

/// A GPU is judged by itself. A machine's cores are judged by the fastest of its ranks, because they share caches,
/// clocks and, on a virtual machine, the host's cores with others, so one of them is often slower for a while.
pub(super) fn slow_ranks(facts: &[RankFacts]) -> Vec<Finding> {
    let measured = || facts.iter().filter_map(|rank| Some((rank, rank.product?)));
    let usual = median(&measured().map(|(_, product)| product.flops_per_cpu_sec).collect::<Vec<_>>());
    let on_wall = median(&measured().map(|(_, product)| product.flops_per_sec).collect::<Vec<_>>());
    let best_of_host = |host: &str| {
        let own = measured().filter(|(rank, _)| rank.host == host);
        own.map(|(_, product)| product.flops_per_cpu_sec).fold(0.0, f64::max)
    };
    let mut found = Vec::new();
    for (rank, product) in measured() {
        let judged = if product.on_gpu { product.flops_per_cpu_sec } else { best_of_host(&rank.host) };
        let gflops = |rate: f64| rate / 1e9;
        if judged < SLOW_RANK * usual {
            let text = format!(
                "matrix products at {:.1} GFLOP/s, the median is {:.1}: a throttled GPU or processor",
                gflops(product.flops_per_cpu_sec),
                gflops(usual)
            );
            found.push(Finding::new(Level::Sick, &rank.host, named(&[rank.rank], &text)));
        } else if product.flops_per_cpu_sec < SLOW_RANK * usual {
            let text = format!(
                "matrix products at {:.1} GFLOP/s, the median is {:.1}, though other ranks of its machine are as fast: \
                 its core shares a clock or a cache with other work",
                gflops(product.flops_per_cpu_sec),
                gflops(usual)
            );
            found.push(Finding::new(Level::Warning, &rank.host, named(&[rank.rank], &text)));
        } else if product.flops_per_sec < SLOW_RANK * on_wall {
            let text = format!(
                "matrix products at {:.1} GFLOP/s, the median is {:.1}, though its cores are as fast: they are busy with \
                 other work",
                gflops(product.flops_per_sec),
                gflops(on_wall)
            );
            found.push(Finding::new(Level::Warning, &rank.host, named(&[rank.rank], &text)));
        }
    }
    found
}

/// Finds slow links. If all of a machine's links to other machines are slow, the machine is named instead of its links.
pub(super) fn slow_links(links: &[LinkFacts]) -> Vec<Finding> {
    let (within, across): (Vec<&LinkFacts>, Vec<&LinkFacts>) =
        links.iter().partition(|link| link.from_host == link.to_host);
    let mut found = Vec::new();
    for (of_kind, kind, level) in
        [(within, "within machines", Level::Warning), (across, "between machines", Level::Sick)]
    {
        let usual = median(&of_kind.iter().map(|link| link.bytes_per_sec).collect::<Vec<_>>());
        let is_slow = |link: &&LinkFacts| link.bytes_per_sec < SLOW_LINK * usual;
        let touches = |host: &str, link: &LinkFacts| link.from_host == host || link.to_host == host;
        let mut slow: Vec<&LinkFacts> = of_kind.iter().copied().filter(is_slow).collect();
        let mut hosts: Vec<&String> = slow.iter().flat_map(|link| [&link.from_host, &link.to_host]).collect();
        hosts.sort();
        hosts.dedup();
        for host in hosts.into_iter().filter(|_| level == Level::Sick) {
            let own: Vec<&LinkFacts> = of_kind.iter().copied().filter(|link| touches(host, link)).collect();
            if own.len() > 1 && own.iter().all(is_slow) && own.len() < of_kind.len() {
                let best = own.iter().map(|link| link.bytes_per_sec).fold(0.0, f64::max);
                let text = format!(
                    "all its links to other machines are slow: {:.1} MB/s at best, the median is {:.1}: look at its \
                     network card and cable",
                    best / 1e6,
                    usual / 1e6
                );
                found.push(Finding::new(level, host, text));
                slow.retain(|link| !touches(host, link));
            }
        }
        for link in slow {
            let text = format!(
                "the link of ranks {} ({}) and {} ({}) carries {:.1} MB/s, the median {kind} is {:.1}",
                link.from,
                link.from_host,
                link.to,
                link.to_host,
                link.bytes_per_sec / 1e6,
                usual / 1e6
            );
            found.push(Finding::new(level, &link.from_host, text));
        }
    }
    found
}
