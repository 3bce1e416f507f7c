import django.db.models.functions.math
import django.db.models.lookups
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('entitlements', '0007_find_the_blocked_and_the_deeds_of_a_day'),
        ('payments', '0009_let_staff_cancel_subscriptions'),
    ]

    operations = [
        migrations.RemoveIndex(
            model_name='paymentevent',
            name='refund_event_by_day',
        ),
        migrations.RemoveIndex(
            model_name='paymentevent',
            name='payer_sampled_by_day',
        ),
        migrations.AddIndex(
            model_name='notice',
            index=models.Index(condition=models.Q(('given_up_at__isnull', False)), fields=['id'], name='notice_given_up'),
        ),
        migrations.AddIndex(
            model_name='paymentevent',
            index=models.Index(condition=models.Q(('status', 'held')), fields=['received_at'], name='held_event_by_receipt'),
        ),
        migrations.AddIndex(
            model_name='paymentevent',
            index=models.Index(condition=models.Q(('refund_of__isnull', False)), fields=['occurred_at', 'currency', 'plan'], name='refund_event_by_day'),
        ),
        migrations.AddIndex(
            model_name='paymentevent',
            index=models.Index(condition=models.Q(django.db.models.lookups.Exact(django.db.models.functions.math.Mod('customer', 100), 0)), fields=['occurred_at', 'customer'], include=('event_type', 'status', 'id'), name='payer_sampled_by_day'),
        ),
    ]
