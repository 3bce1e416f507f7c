import django.db.models.deletion
import django.db.models.functions.datetime
import pgtrigger.compiler
import pgtrigger.migrations
from django.contrib.postgres.operations import AddConstraintNotValid
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('entitlements', '0008_keep_a_grace_and_what_renews'),
        ('payments', '0014_follow_subscriptions'),
    ]

    operations = [
        migrations.CreateModel(
            name='Dispute',
            fields=[
                ('dispute_id', models.TextField(primary_key=True, serialize=False)),
                ('amount', models.BigIntegerField(help_text="In the currency's smallest unit.")),
                ('currency', models.CharField(max_length=3)),
                ('reason', models.CharField(help_text="In Stripe's word, like fraudulent.", max_length=100)),
                ('status', models.CharField(help_text="In Stripe's word, like needs_response or lost.", max_length=50)),
                ('opened_at', models.DateTimeField()),
                ('evidence_due_at', models.DateTimeField(help_text='Until then the bank hears our side.', null=True)),
                ('closed_at', models.DateTimeField(help_text='When we learnt that it is won or lost.', null=True)),
                ('updated_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ('payment', models.ForeignKey(on_delete=django.db.models.deletion.PROTECT, related_name='disputes', to='payments.paymentevent')),
            ],
        ),
        migrations.CreateModel(
            name='StripeCustomer',
            fields=[
                ('customer', models.OneToOneField(on_delete=django.db.models.deletion.PROTECT, primary_key=True, related_name='stripe', serialize=False, to='entitlements.customer')),
                ('stripe_id', models.TextField(unique=True)),
                ('created_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
            ],
        ),
        migrations.CreateModel(
            name='StripeEvent',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('event_id', models.TextField(help_text="Stripe's; of what cannot be read, the digest of its bytes.", unique=True)),
                ('kind', models.CharField(help_text='Like checkout.session.completed; or unreadable.', max_length=100)),
                ('about', models.TextField(blank=True, default='', help_text='The id of what it is about.')),
                ('body', models.BinaryField(help_text='Blanked 90 days after it is done.')),
                ('received_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ('status', models.CharField(choices=[('pending', 'to be processed'), ('done', 'done'), ('foreign', 'for another account or mode'), ('quarantined', 'not understood'), ('dead', 'given up'), ('dismissed', 'dismissed by staff')], max_length=11)),
                ('attempts', models.PositiveSmallIntegerField(db_default=0, default=0)),
                ('next_attempt_at', models.DateTimeField(db_default=django.db.models.functions.datetime.Now())),
                ('error', models.TextField(blank=True, db_default='', default='')),
                ('done_at', models.DateTimeField(null=True)),
            ],
            options={
                'permissions': [('decide_stripeevent', 'Can replay and dismiss events of Stripe')],
            },
        ),
        migrations.CreateModel(
            name='StripeReadUpTo',
            fields=[
                ('id', models.PositiveSmallIntegerField(default=1, primary_key=True, serialize=False)),
                ('moment', models.DateTimeField()),
            ],
        ),
        pgtrigger.migrations.RemoveTrigger(
            model_name='refund',
            name='refund_facts_stay',
        ),
        migrations.RemoveConstraint(
            model_name='earlyrefund',
            name='early_refund_is_a_refund',
        ),
        migrations.RemoveConstraint(
            model_name='paymentevent',
            name='payment_event_type_of_its_method',
        ),
        migrations.RemoveConstraint(
            model_name='paymentevent',
            name='payment_event_only_refunds_refund',
        ),
        migrations.AddField(
            model_name='refund',
            name='amount',
            field=models.BigIntegerField(help_text="In the currency's smallest unit; empty where only the whole payment can be given back.", null=True),
        ),
        migrations.AddField(
            model_name='refund',
            name='faults',
            field=models.PositiveIntegerField(db_default=0, default=0, help_text='How often the channel answered that something went wrong there.'),
        ),
        migrations.AlterField(
            model_name='earlyrefund',
            name='event_type',
            field=models.CharField(choices=[('telegram_stars.successful_payment', 'Stars paid'), ('telegram_stars.refunded_payment', 'Stars refunded'), ('telegram_provider.successful_payment', 'card paid'), ('telegram_provider.refunded_payment', 'card refunded'), ('stripe.successful_payment', 'paid with Stripe'), ('stripe.refunded_payment', 'refunded by Stripe'), ('stripe.failed_refund', 'refund by Stripe that came back')], max_length=40),
        ),
        migrations.AlterField(
            model_name='hold',
            name='reason',
            field=models.CharField(choices=[('unknown_payload', 'its payload is not one of our invoices'), ('foreign_payer', 'somebody else paid the invoice'), ('amount_mismatch', "the amount is not the invoice's"), ('currency_mismatch', "the currency is not the invoice's"), ('method_mismatch', 'it was paid by another method than quoted'), ('plan_mismatch', "the plan is not the invoice's"), ('unknown_plan', 'the plan is not in the catalogue'), ('customer_blocked', 'the customer is blocked'), ('bought_twice', 'the customer had it already'), ('foreign_refund', 'a refund that names another customer than the payment'), ('refund_mismatch', 'a refund of another amount than was paid'), ('refund_failed', 'a refund that did not arrive: the customer has neither money nor access'), ('unreadable', 'its amount, currency or id cannot be read')], max_length=20),
        ),
        migrations.AlterField(
            model_name='notice',
            name='kind',
            field=models.CharField(choices=[('payment_confirmed', 'payment received, access given'), ('payment_held', 'payment received, being looked at'), ('refunded', 'payment given back'), ('refund_failed', 'payment given back did not arrive'), ('subscription_ending', 'subscription soon renewed or over'), ('subscription_failed', 'renewal of the subscription not paid'), ('subscription_ended', 'subscription over')], max_length=20),
        ),
        migrations.AlterField(
            model_name='paymentevent',
            name='event_type',
            field=models.CharField(choices=[('telegram_stars.successful_payment', 'Stars paid'), ('telegram_stars.refunded_payment', 'Stars refunded'), ('telegram_provider.successful_payment', 'card paid'), ('telegram_provider.refunded_payment', 'card refunded'), ('stripe.successful_payment', 'paid with Stripe'), ('stripe.refunded_payment', 'refunded by Stripe'), ('stripe.failed_refund', 'refund by Stripe that came back')], max_length=40),
        ),
        pgtrigger.migrations.AddTrigger(
            model_name='refund',
            trigger=pgtrigger.compiler.Trigger(name='refund_facts_stay', sql=pgtrigger.compiler.UpsertTriggerSql(condition='WHEN (OLD."id" IS DISTINCT FROM (NEW."id") OR OLD."payment_id" IS DISTINCT FROM (NEW."payment_id") OR OLD."amount" IS DISTINCT FROM (NEW."amount") OR OLD."reason" IS DISTINCT FROM (NEW."reason") OR OLD."requested_by" IS DISTINCT FROM (NEW."requested_by") OR OLD."created_at" IS DISTINCT FROM (NEW."created_at") OR OLD."cancel_subscription" IS DISTINCT FROM (NEW."cancel_subscription"))', func="RAISE EXCEPTION 'pgtrigger: Cannot update rows from % table', TG_TABLE_NAME;", hash='d259930698cc4371aeb884ee9f32835a9c3dfbce', operation='UPDATE', pgid='pgtrigger_refund_facts_stay_939aa', table='payments_refund', when='BEFORE')),
        ),
        # Judges the rows of the future at once; those there are keep the table locked no longer than that takes.
        AddConstraintNotValid(
            model_name='earlyrefund',
            constraint=models.CheckConstraint(condition=models.Q(('event_type__in', ('telegram_stars.refunded_payment', 'telegram_provider.refunded_payment', 'stripe.refunded_payment')), models.Q(('event_id', ''), _negated=True)), name='early_refund_is_a_refund'),
        ),
        AddConstraintNotValid(
            model_name='paymentevent',
            constraint=models.CheckConstraint(condition=models.Q(models.Func('event_type', 'payment_method', function='starts_with', output_field=models.BooleanField()), ('event_type__regex', '^(telegram_stars|telegram_provider|stripe)\\.(successful_payment|refunded_payment|failed_refund)$')), name='payment_event_type_of_its_method'),
        ),
        AddConstraintNotValid(
            model_name='paymentevent',
            constraint=models.CheckConstraint(condition=models.Q(('refund_of__isnull', True), ('event_type__regex', '(refunded_payment|failed_refund)$'), _connector='OR'), name='payment_event_only_refunds_refund'),
        ),
        AddConstraintNotValid(
            model_name='refund',
            constraint=models.CheckConstraint(condition=models.Q(('amount__isnull', True), ('amount__gt', 0), _connector='OR'), name='refund_amount_positive'),
        ),
        migrations.AddIndex(
            model_name='stripeevent',
            index=models.Index(condition=models.Q(('status', 'pending')), fields=['next_attempt_at'], name='stripe_event_pending'),
        ),
        migrations.AddIndex(
            model_name='stripeevent',
            index=models.Index(condition=models.Q(('status__in', ('dead', 'quarantined'))), fields=['received_at'], name='stripe_event_undecided'),
        ),
        migrations.AddIndex(
            model_name='stripeevent',
            index=models.Index(fields=['received_at'], name='stripe_event_by_receipt'),
        ),
        migrations.AddIndex(
            model_name='stripeevent',
            index=models.Index(fields=['about'], name='stripe_event_about'),
        ),
        migrations.AddConstraint(
            model_name='stripeevent',
            constraint=models.CheckConstraint(condition=models.Q(('status__regex', '^(pending|done|foreign|quarantined|dead|dismissed)$')), name='stripe_event_status'),
        ),
        migrations.AddConstraint(
            model_name='stripeevent',
            constraint=models.CheckConstraint(condition=models.Q(('event_id', ''), _negated=True), name='stripe_event_has_an_id'),
        ),
        migrations.AddConstraint(
            model_name='stripereadupto',
            constraint=models.CheckConstraint(condition=models.Q(('id', 1)), name='stripe_read_up_to_is_one_row'),
        ),
        migrations.AddIndex(
            model_name='dispute',
            index=models.Index(condition=models.Q(('closed_at__isnull', True)), fields=['opened_at'], name='dispute_open'),
        ),
        migrations.AddConstraint(
            model_name='dispute',
            constraint=models.CheckConstraint(condition=models.Q(('amount__gte', 0)), name='dispute_amount_not_negative'),
        ),
        migrations.AddConstraint(
            model_name='dispute',
            constraint=models.CheckConstraint(condition=models.Q(('currency__regex', '^[A-Z]{3}$')), name='dispute_currency'),
        ),
    ]
