//! Cheap conditions put together are worth what they were apart.

use arrow::array::{ArrayRef, Int32Array, StringViewArray};
use arrow::datatypes::Field;
use datafusion::physical_expr::expressions::{col, lit};

use super::*;

fn batch() -> RecordBatch {
    let a: ArrayRef = Arc::new(Int32Array::from(vec![
        Some(1),
        Some(2),
        None,
        Some(4),
        Some(0),
    ]));
    let s = StringViewArray::from(vec![Some("x"), None, Some("y"), Some("x"), Some("y")]);
    let schema = Schema::new(vec![
        Field::new("a", DataType::Int32, true),
        Field::new("s", DataType::Utf8View, true),
    ]);
    RecordBatch::try_new(Arc::new(schema), vec![a, Arc::new(s)]).unwrap()
}

fn binary(
    left: Arc<dyn PhysicalExpr>,
    operator: Operator,
    right: Arc<dyn PhysicalExpr>,
) -> Arc<dyn PhysicalExpr> {
    Arc::new(BinaryExpr::new(left, operator, right))
}

fn compare(column: &str, operator: Operator, value: ScalarValue) -> Arc<dyn PhysicalExpr> {
    binary(
        col(column, &batch().schema()).unwrap(),
        operator,
        lit(value),
    )
}

fn text(value: &str) -> ScalarValue {
    ScalarValue::Utf8View(Some(value.to_string()))
}

fn outcome(expr: &Arc<dyn PhysicalExpr>) -> Vec<Option<bool>> {
    let value = expr.evaluate(&batch()).unwrap().into_array(5).unwrap();
    value.as_boolean().iter().collect()
}

#[test]
fn outcomes_are_those_of_the_pairs() {
    let conditions: Vec<Arc<dyn PhysicalExpr>> = (-1..5)
        .flat_map(|at| {
            let number = |operator| compare("a", operator, ScalarValue::Int32(Some(at)));
            let list = vec![lit(at), lit(at + 2)];
            let a = col("a", &batch().schema()).unwrap();
            let list = InListExpr::try_new(a, list, at % 2 == 0, &batch().schema()).unwrap();
            [
                number(Operator::Gt),
                number(Operator::NotEq),
                compare("s", Operator::Eq, text("x")),
                compare("s", Operator::Lt, ScalarValue::Utf8View(None)),
                Arc::new(list) as _,
                Arc::new(NotExpr::new(number(Operator::LtEq))) as _,
            ]
        })
        .collect();
    let mut changed = 0;
    for left in &conditions {
        for right in &conditions {
            for (inner, outer) in [
                (Operator::And, Operator::Or),
                (Operator::Or, Operator::And),
                (Operator::And, Operator::And),
            ] {
                let pair = binary(Arc::clone(left), inner, Arc::clone(right));
                let whole = binary(pair, outer, Arc::clone(left));
                let together = together(&whole, &batch().schema()).unwrap().unwrap();
                assert_eq!(outcome(&together), outcome(&whole), "{whole}");
                changed += usize::from(together.is::<Combined>());
            }
        }
    }
    assert_eq!(changed, 3 * 36 * 36);
}

#[test]
fn what_may_fail_keeps_its_place_behind() {
    let schema = batch().schema();
    let quotient = binary(lit(10), Operator::Divide, col("a", &schema).unwrap());
    let fails = binary(quotient, Operator::Gt, lit(2));
    let guard = compare("a", Operator::NotEq, ScalarValue::Int32(Some(0)));
    let later = compare("a", Operator::Lt, ScalarValue::Int32(Some(4)));
    let guarded = binary(guard, Operator::And, Arc::clone(&fails));
    let whole = binary(guarded, Operator::And, later);
    let together = together(&whole, &schema).unwrap().unwrap();
    assert_eq!(
        together.to_string(),
        "a@0 != 0 AND a@0 < 4 AND 10 / a@0 > 2"
    );
    let over = |rows: RecordBatch| {
        let value = together.evaluate(&rows).unwrap();
        let value = value.into_array(rows.num_rows()).unwrap();
        value.as_boolean().iter().collect::<Vec<_>>()
    };
    assert_eq!(over(batch().slice(0, 2)), [Some(true), Some(true)]);
    // The last row would fail.
    assert_eq!(over(batch().slice(3, 2)), [Some(false), Some(false)]);
    assert!(super::together(&fails, &schema).unwrap().is_none());
}
