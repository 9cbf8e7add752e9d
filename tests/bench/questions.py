"""What dashboards ask the views of finance."""

QUESTIONS = {
    "current period of a customer":
        "SELECT meter, value, projected_value FROM {report}.usage_current_period"
        " WHERE tenant_id = '{tenant}' AND customer_id = '{customer}'",
    "30 days of a customer":
        "SELECT day, meter, value FROM {report}.usage_daily WHERE tenant_id = '{tenant}'"
        " AND customer_id = '{customer}' AND day > current_date - 30 ORDER BY day",
    "top customers of the month":
        "SELECT customer_id, sum(value) FROM {report}.usage_daily WHERE tenant_id = '{tenant}' AND meter = 'api_call'"
        " AND day > current_date - 30 GROUP BY 1 ORDER BY 2 DESC LIMIT 10",
    "a customer by dimension":
        "SELECT dims, sum(value) FROM {report}.usage_by_dimension WHERE tenant_id = '{tenant}'"
        " AND customer_id = '{customer}' GROUP BY 1",
}  # fmt: skip
