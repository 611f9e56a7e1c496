//! Budgets of a grant: a session may use no more of its policy's than its grant says.

use agent_common::terms::{LIMITS, Limit};
use agent_policy::Compiled;
use agent_proto::grant;
use agent_proto::wire::Budget;
use agent_proto::wire::budget::Left;

/// A grant speaks of a budget that its policy does not give.
#[derive(Debug, thiserror::Error)]
#[error(
    "found a budget `{0}`, expected one of a rule with this id that has `perSession`, or `bytesPerSession` for bytes"
)]
pub struct NoBudgetError(String);

/// What is spent of each limit before a session begins, so that no more is left than its grant says.
pub fn spent(compiled: &Compiled, budgets: &[Budget]) -> Result<[u64; LIMITS], NoBudgetError> {
    let mut spent = [0; LIMITS];
    for budget in budgets {
        let (kind, left) = match budget.left {
            Some(Left::Actions(left)) => (Limit::COUNT, left),
            Some(Left::Bytes(left)) => (Limit::BYTES, left),
            None => return Err(NoBudgetError(grant::budget(budget))),
        };
        let Some((at, amount)) = compiled.budget(&budget.rule, kind) else {
            return Err(NoBudgetError(grant::budget(budget)));
        };
        spent[at] = amount.saturating_sub(left).max(spent[at]);
    }
    Ok(spent)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::control::protocol::Start;

    const POLICY: &str = "\
apiVersion: interlock.dev/v1alpha1
kind: AgentPolicy
metadata: {name: payer}
spec:
  owner: {name: Ada, contact: ada@example.com}
  egress:
    allow:
      - {id: upload, to: [192.0.2.1], ports: [443], limit: {bytesPerSession: 20MB}}
      - {id: ask, to: [192.0.2.2], ports: [443], limit: {rate: 5/s}}
  chain:
    steps:
      - step: pay
        egress:
          - {id: payout, to: [192.0.2.3], ports: [443], limit: {perSession: 5}}
";

    fn of(budgets: &[(&str, Option<Left>)]) -> Result<Vec<u64>, String> {
        let start = Start {
            agent: "payer".into(),
            file: "payer.yaml".into(),
            policy: POLICY.into(),
            profiles: Vec::new(),
        };
        let compiled = crate::policy::compile(&start).expect("a policy");
        let budgets: Vec<_> = budgets
            .iter()
            .map(|(rule, left)| Budget {
                rule: (*rule).to_owned(),
                left: *left,
            })
            .collect();
        let spent = spent(&compiled, &budgets).map_err(|error| error.to_string())?;
        Ok(spent.into_iter().filter(|spent| *spent > 0).collect())
    }

    #[test]
    fn what_a_grant_leaves_is_what_is_not_spent() {
        assert_eq!(of(&[]), Ok(vec![]));
        assert_eq!(of(&[("payout", Some(Left::Actions(2)))]), Ok(vec![3]));
        assert_eq!(of(&[("payout", Some(Left::Actions(0)))]), Ok(vec![5]));
        // A grant narrows, and of two the narrower holds.
        assert_eq!(of(&[("payout", Some(Left::Actions(9)))]), Ok(vec![]));
        let two = [1, 4].map(|left| ("payout", Some(Left::Actions(left))));
        assert_eq!(of(&two), Ok(vec![4]));
        assert_eq!(
            of(&[("upload", Some(Left::Bytes(5_000_000)))]),
            Ok(vec![15_000_000])
        );
    }

    #[test]
    fn a_budget_that_the_policy_does_not_give_is_refused() {
        let wrong = [
            ("payout", Some(Left::Bytes(1)), "`payout=1B`"),
            ("upload", Some(Left::Actions(1)), "`upload=1`"),
            ("ask", Some(Left::Actions(1)), "`ask=1`"),
            ("pay", Some(Left::Actions(1)), "`pay=1`"),
            ("payout", None, "`payout=?`"),
        ];
        for (rule, left, expected) in wrong {
            let error = of(&[(rule, left)]).expect_err(rule);
            assert!(error.contains(expected), "{error}");
        }
    }
}
