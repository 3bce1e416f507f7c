import django.db.models.deletion
from django.contrib.postgres.operations import AddConstraintNotValid
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('payments', '0020_find_payments_at_their_provider'),
    ]

    operations = [
        migrations.RemoveConstraint(
            model_name='paymentevent',
            name='payment_event_type_of_its_method',
        ),
        migrations.AddField(
            model_name='paymentevent',
            name='cost_of',
            field=models.ForeignKey(db_index=False, help_text='Of a fee, or of what a bank took back: the payment. A fee may be in another currency.', null=True, on_delete=django.db.models.deletion.PROTECT, related_name='costs', to='payments.paymentevent'),
        ),
        migrations.AddField(
            model_name='revenueday',
            name='disputed',
            field=models.DecimalField(db_default=0, decimal_places=0, default=0, max_digits=30),
        ),
        migrations.AddField(
            model_name='revenueday',
            name='fees',
            field=models.DecimalField(db_default=0, decimal_places=0, default=0, max_digits=30),
        ),
        migrations.AlterField(
            model_name='earlyrefund',
            name='event_type',
            field=models.CharField(choices=[('telegram_stars.successful_payment', 'Stars paid'), ('telegram_stars.refunded_payment', 'Stars refunded'), ('telegram_provider.successful_payment', 'card paid'), ('telegram_provider.refunded_payment', 'card refunded'), ('stripe.successful_payment', 'paid with Stripe'), ('stripe.refunded_payment', 'refunded by Stripe'), ('stripe.failed_refund', 'refund by Stripe that came back'), ('stripe.charged_fee', 'fee of Stripe'), ('stripe.returned_fee', 'fee returned by Stripe'), ('stripe.disputed_payment', 'taken back by the bank'), ('stripe.reinstated_payment', 'brought back by the bank')], max_length=40),
        ),
        migrations.AlterField(
            model_name='paymentevent',
            name='event_type',
            field=models.CharField(choices=[('telegram_stars.successful_payment', 'Stars paid'), ('telegram_stars.refunded_payment', 'Stars refunded'), ('telegram_provider.successful_payment', 'card paid'), ('telegram_provider.refunded_payment', 'card refunded'), ('stripe.successful_payment', 'paid with Stripe'), ('stripe.refunded_payment', 'refunded by Stripe'), ('stripe.failed_refund', 'refund by Stripe that came back'), ('stripe.charged_fee', 'fee of Stripe'), ('stripe.returned_fee', 'fee returned by Stripe'), ('stripe.disputed_payment', 'taken back by the bank'), ('stripe.reinstated_payment', 'brought back by the bank')], max_length=40),
        ),
        migrations.AddIndex(
            model_name='paymentevent',
            index=models.Index(condition=models.Q(('cost_of__isnull', False)), fields=['cost_of'], name='payment_event_cost_of'),
        ),
        migrations.AddIndex(
            model_name='paymentevent',
            index=models.Index(condition=models.Q(('cost_of__isnull', False)), fields=['occurred_at', 'currency', 'plan'], name='cost_event_by_day'),
        ),
        # Judges the rows of the future at once; those there are keep the table locked no longer than that takes.
        AddConstraintNotValid(
            model_name='paymentevent',
            constraint=models.CheckConstraint(condition=models.Q(models.Func('event_type', 'payment_method', function='starts_with', output_field=models.BooleanField()), ('event_type__regex', '^(telegram_stars|telegram_provider|stripe)\\.(successful_payment|refunded_payment|failed_refund|charged_fee|returned_fee|disputed_payment|reinstated_payment)$')), name='payment_event_type_of_its_method'),
        ),
        AddConstraintNotValid(
            model_name='paymentevent',
            constraint=models.CheckConstraint(condition=models.Q(('cost_of__isnull', True), ('event_type__regex', '(charged_fee|returned_fee|disputed_payment|reinstated_payment)$'), _connector='OR'), name='payment_event_only_costs_cost'),
        ),
    ]
