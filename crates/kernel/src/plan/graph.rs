//! Edges between positions: order, levels, cycles. Linear, and never recursive: plans have ten thousand nodes in a row.

/// For every node, the nodes it waits for.
pub(crate) type Waits = Vec<Vec<usize>>;

/// For every node, the nodes that wait for it.
pub(crate) fn reversed(waits: &[Vec<usize>]) -> Waits {
    let mut followers = vec![Vec::new(); waits.len()];
    for (node, before) in waits.iter().enumerate() {
        for &b in before {
            followers[b].push(node);
        }
    }
    followers
}

/// Nodes in an order in which each stands after what it waits for; shorter than the graph when there is a cycle.
pub(crate) fn order(waits: &[Vec<usize>]) -> Vec<usize> {
    let followers = reversed(waits);
    let mut open: Vec<usize> = waits.iter().map(Vec::len).collect();
    let mut order: Vec<usize> = (0..waits.len()).filter(|&n| open[n] == 0).collect();
    let mut at = 0;
    while at < order.len() {
        for &f in &followers[order[at]] {
            open[f] -= 1;
            if open[f] == 0 {
                order.push(f);
            }
        }
        at += 1;
    }
    order
}

/// One cycle for every knot of nodes that wait for each other, each in waiting order; edges to oneself do not count.
pub(crate) fn cycles(waits: &[Vec<usize>]) -> Vec<Vec<usize>> {
    let n = waits.len();
    let knots = knots(waits);
    let mut knot_of = vec![usize::MAX; n];
    for (k, members) in knots.iter().enumerate() {
        for &m in members {
            knot_of[m] = k;
        }
    }
    let mut step = vec![usize::MAX; n];
    let mut found = Vec::new();
    for (k, members) in knots.iter().enumerate() {
        // Inside a knot every node waits for another one of it, so walking on must meet itself.
        let mut walk = Vec::new();
        let mut node = members[0];
        while step[node] == usize::MAX {
            step[node] = walk.len();
            walk.push(node);
            let next = waits[node].iter().copied().find(|&w| w != node && knot_of[w] == k);
            node = next.expect("a node of a knot waits for another one of it");
        }
        let mut cycle = walk.split_off(step[node]);
        let first = (0..cycle.len()).min_by_key(|&i| cycle[i]).unwrap_or(0);
        cycle.rotate_left(first);
        found.push(cycle);
    }
    found.sort();
    found
}

/// Strongly connected components of more than one node (Tarjan 1972, with its stack spelled out).
fn knots(waits: &[Vec<usize>]) -> Vec<Vec<usize>> {
    const NEW: usize = usize::MAX;
    let n = waits.len();
    let (mut index, mut low) = (vec![NEW; n], vec![0; n]);
    let mut on_stack = vec![false; n];
    let (mut stack, mut path) = (Vec::new(), Vec::<(usize, usize)>::new());
    let (mut next, mut found) = (0, Vec::new());
    for root in 0..n {
        if index[root] != NEW {
            continue;
        }
        path.push((root, 0));
        while let Some((node, edge)) = path.last_mut() {
            let node = *node;
            if *edge == 0 {
                index[node] = next;
                low[node] = next;
                next += 1;
                stack.push(node);
                on_stack[node] = true;
            }
            if let Some(&to) = waits[node].get(*edge) {
                *edge += 1;
                if index[to] == NEW {
                    path.push((to, 0));
                } else if on_stack[to] {
                    low[node] = low[node].min(index[to]);
                }
                continue;
            }
            path.pop();
            if let Some(&(parent, _)) = path.last() {
                low[parent] = low[parent].min(low[node]);
            }
            if low[node] == index[node] {
                let at = stack.iter().rposition(|&s| s == node).expect("a root is still on the stack");
                let mut members = stack.split_off(at);
                for &m in &members {
                    on_stack[m] = false;
                }
                if members.len() > 1 {
                    members.sort_unstable();
                    found.push(members);
                }
            }
        }
    }
    found
}
