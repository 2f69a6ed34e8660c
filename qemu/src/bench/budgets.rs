//! Budgets written into `goals.toml`, everything else in it kept; and the tests that hold figures
//! against them.

use std::fs;

use anyhow::{Context, Result, ensure};
use toml_edit::{DocumentMut, value};

use super::goals::{self, Better, Verdict};

/// Writes what was counted exactly as the new budgets of its suite. How many changed in which file.
pub(crate) fn write(verdicts: &[Verdict<'_>]) -> Result<Vec<(&'static str, usize)>> {
    let counted =
        |suite| verdicts.iter().filter(move |verdict| verdict.exact && verdict.goal.suite == suite);
    let mut written = Vec::new();
    for (suite, file) in goals::SUITES {
        if counted(suite).next().is_none() {
            continue;
        }
        let path = goals::path(file);
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {file}"))?;
        let (text, changed) = rewrite(&text, counted(suite))?;
        fs::write(&path, text).with_context(|| format!("cannot write {file}"))?;
        written.push((file, changed));
    }
    ensure!(
        !written.is_empty(),
        "no figure with a goal was counted on one core, so there is no budget to write"
    );
    Ok(written)
}

/// The file with these budgets in it, and how many differ from before.
fn rewrite<'a>(
    text: &str,
    counted: impl Iterator<Item = &'a Verdict<'a>>,
) -> Result<(String, usize)> {
    let mut document: DocumentMut = text.parse()?;
    let mut changed = 0;
    for verdict in counted {
        let (Some(reached), goal) = (verdict.value, verdict.goal) else { continue };
        let budget = round(reached, goal.better);
        if goal.budget == Some(budget) {
            continue;
        }
        let table = document
            .get_mut(&goal.name)
            .and_then(|item| item.as_table_like_mut())
            .with_context(|| format!("{} is not in the file any more", goal.name))?;
        match table.get_mut("budget").and_then(|item| item.as_value_mut()) {
            // A comment behind the value is part of it.
            Some(old) => {
                let decor = old.decor().clone();
                *old = budget.into();
                *old.decor_mut() = decor;
            }
            None => {
                table.insert("budget", value(budget));
            }
        }
        changed += 1;
    }
    Ok((document.to_string(), changed))
}

/// Whether a figure keeps its budget; if not, what to do.
pub(crate) fn holds(verdict: &Verdict<'_>) -> Result<(), String> {
    let Verdict { goal, .. } = verdict;
    let Some(budget) = goal.budget else { return Ok(()) };
    match verdict.value {
        None => Err(format!("{}: budget {budget}, but the suite did not measure it", goal.name)),
        Some(value) if verdict.over_budget() => Err(format!(
            "{}: {value} is worse than its budget {} {budget}; if that is meant: \
             cargo bale bench {} --cores 1 --write-budgets",
            goal.name,
            goal.better.sign(),
            goal.suite
        )),
        Some(_) => Ok(()),
    }
}

/// To the worse side: one decimal, and three below 1, where one would say nothing.
fn round(value: f64, better: Better) -> f64 {
    let scale = if value.abs() < 1.0 { 1000.0 } else { 10.0 };
    // What is a whole number of steps but for the error of binary fractions stays it.
    let steps = value * scale;
    let near = steps.round();
    let steps = if (steps - near).abs() < 1e-6 {
        near
    } else {
        match better {
            Better::Lower => steps.ceil(),
            Better::Higher => steps.floor(),
        }
    };
    steps / scale
}

#[cfg(test)]
mod tests {
    use super::super::goals::{Better, Goal, Verdict, parse};
    use super::{holds, rewrite, round, write};

    const FILE: &str = "# head\n\n[malloc] # of an object\nbetter = \"lower\"\ngoal = 120\nbudget = 289.1 # 8000 objects\n\n\
                        # half\n[density]\nbetter = \"higher\"\ngoal = 60.5\n";

    fn verdict(goal: &Goal, value: f64, exact: bool) -> Verdict<'_> {
        Verdict { goal, value: Some(value), exact }
    }

    #[test]
    fn budgets_change_and_nothing_else_does() {
        let goals = parse("allocator", FILE).expect("a good file");
        let verdicts = [verdict(&goals[0], 118.41, true), verdict(&goals[1], 61.27, true)];
        let (text, changed) = rewrite(FILE, verdicts.iter()).expect("rewritten");
        assert_eq!(changed, 2);
        assert_eq!(text, FILE.replace("289.1", "118.5").replace("60.5\n", "60.5\nbudget = 61.2\n"));
        let again = parse("allocator", &text).expect("still good");
        assert_eq!((again[0].budget, again[1].budget), (Some(118.5), Some(61.2)));
        let verdicts = [verdict(&again[0], 118.41, true), verdict(&again[1], 61.27, true)];
        assert!(
            verdicts.iter().all(|verdict| !verdict.over_budget()),
            "a budget holds what it was made of"
        );
        assert_eq!(rewrite(&text, verdicts.iter()).expect("rewritten"), (text.clone(), 0));
    }

    #[test]
    fn a_figure_above_its_budget_says_how_to_change_it() {
        let goals = parse("allocator", FILE).expect("a good file");
        assert_eq!(holds(&verdict(&goals[0], 289.1, true)), Ok(()));
        assert_eq!(holds(&verdict(&goals[1], 1.0, true)), Ok(()), "it has no budget");
        let text = holds(&verdict(&goals[0], 289.2, true)).expect_err("above");
        for word in
            ["malloc", "289.2", "289.1", "cargo bale bench allocator --cores 1 --write-budgets"]
        {
            assert!(text.contains(word), "{text} does not say {word}");
        }
        let missing = Verdict { goal: &goals[0], value: None, exact: false };
        assert!(holds(&missing).expect_err("missing").contains("did not measure"));
    }

    #[test]
    fn only_exact_figures_become_budgets() {
        let goals = parse("allocator", FILE).expect("a good file");
        write(&[verdict(&goals[0], 1.0, false)]).expect_err("nothing counted");
    }

    #[test]
    fn rounding_is_to_the_worse_side() {
        assert_eq!(round(118.41, Better::Lower), 118.5);
        assert_eq!(round(118.4, Better::Lower), 118.4);
        assert_eq!(round(289.1, Better::Lower), 289.1);
        assert_eq!(round(98.45, Better::Higher), 98.4);
        assert_eq!(round(0.0312, Better::Lower), 0.032);
        assert_eq!(round(0.0, Better::Lower), 0.0);
    }
}
