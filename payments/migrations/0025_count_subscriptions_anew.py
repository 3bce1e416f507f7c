from django.db import migrations

# What changed between the last count and the trigger.
ANEW = """
    WITH taken AS (DELETE FROM payments_subscriptionday)
    INSERT INTO payments_subscriptionday (
        day, plan_code, currency, payment_method, begun, ended, monthly_begun, monthly_ended)
    SELECT day, plan_code, currency, payment_method, sum(begun), sum(ended), sum(begun * amount), sum(ended * amount)
    FROM (
        SELECT (started_at AT TIME ZONE 'UTC')::date AS day, coalesce(plan_id, '') AS plan_code, currency,
               payment_method, amount, 1 AS begun, 0 AS ended
        FROM payments_subscription
        UNION ALL
        SELECT (state_changed_at AT TIME ZONE 'UTC')::date, coalesce(plan_id, ''), currency,
               payment_method, amount, 0, 1
        FROM payments_subscription WHERE state = 'ended'
    ) AS came_and_went
    GROUP BY day, plan_code, currency, payment_method
"""


class Migration(migrations.Migration):

    dependencies = [
        ('payments', '0024_write_down_what_subscriptions_change'),
    ]

    operations = [
        migrations.RunSQL(ANEW, migrations.RunSQL.noop),
    ]
