import django.db.models.functions.datetime
import pgtrigger.compiler
import pgtrigger.migrations
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('entitlements', '0008_keep_a_grace_and_what_renews'),
        ('payments', '0023_count_subscriptions_by_day'),
    ]

    operations = [
        migrations.RemoveConstraint(
            model_name='subscriptionday',
            name='subscription_day_once',
        ),
        migrations.AlterField(
            model_name='subscriptionday',
            name='counted_at',
            field=models.DateTimeField(db_default=django.db.models.functions.datetime.Now(), editable=False),
        ),
        pgtrigger.migrations.AddTrigger(
            model_name='subscription',
            trigger=pgtrigger.compiler.Trigger(name='subscription_counts', sql=pgtrigger.compiler.UpsertTriggerSql(func="\n    INSERT INTO payments_subscriptionday (\n        day, plan_code, currency, payment_method, begun, ended, monthly_begun, monthly_ended)\n    SELECT (at AT TIME ZONE 'UTC')::date, coalesce(plan_id, ''), currency, payment_method, sum(begun), sum(ended),\n           sum(begun * amount), sum(ended * amount)\n    FROM (VALUES\n        (OLD.started_at, OLD.plan_id, OLD.currency, OLD.payment_method, OLD.amount, -1, 0),\n        (NEW.started_at, NEW.plan_id, NEW.currency, NEW.payment_method, NEW.amount, 1, 0),\n        (CASE OLD.state WHEN 'ended' THEN OLD.state_changed_at END,\n         OLD.plan_id, OLD.currency, OLD.payment_method, OLD.amount, 0, -1),\n        (CASE NEW.state WHEN 'ended' THEN NEW.state_changed_at END,\n         NEW.plan_id, NEW.currency, NEW.payment_method, NEW.amount, 0, 1)\n    ) AS line (at, plan_id, currency, payment_method, amount, begun, ended)\n    WHERE at IS NOT NULL\n    GROUP BY 1, 2, 3, 4\n    HAVING (sum(begun), sum(ended), sum(begun * amount), sum(ended * amount)) <> (0, 0, 0, 0);\n    RETURN NULL;\n", hash='db899035a132de5b7a9f1bc4982595dcee5e9717', operation='INSERT OR UPDATE', pgid='pgtrigger_subscription_counts_5fede', table='payments_subscription', when='AFTER')),
        ),
    ]
