//! Circles of a directed graph: its strongly connected components.

/// The strongly connected components of more than one node among `nodes`, each sorted.
///
/// `next` lists the nodes that a node points at. Two nodes lie in one component when each reaches
/// the other; the graphs here have some hundred nodes, so reachability is simply walked from each.
pub(crate) fn components(nodes: &[usize], next: &[Vec<usize>]) -> Vec<Vec<usize>> {
    let reached: Vec<Vec<bool>> =
        (0..next.len())
            .map(|from| {
                if nodes.contains(&from) {
                    reach(from, nodes, next)
                } else {
                    vec![false; next.len()]
                }
            })
            .collect();
    let mut seen = vec![false; next.len()];
    let mut found = Vec::new();
    for &node in nodes {
        if seen[node] {
            continue;
        }
        let circle: Vec<usize> = nodes
            .iter()
            .copied()
            .filter(|&other| other == node || reached[node][other] && reached[other][node])
            .collect();
        circle.iter().for_each(|&member| seen[member] = true);
        if circle.len() > 1 {
            found.push(circle);
        }
    }
    found
}

/// Which nodes can be reached from `from` over `nodes` alone.
fn reach(from: usize, nodes: &[usize], next: &[Vec<usize>]) -> Vec<bool> {
    let mut reached = vec![false; next.len()];
    let mut open = vec![from];
    while let Some(node) = open.pop() {
        for &other in next[node].iter().filter(|other| nodes.contains(other)) {
            if !reached[other] {
                reached[other] = true;
                open.push(other);
            }
        }
    }
    reached
}
