from django.contrib.postgres.operations import AddIndexConcurrently
from django.db import migrations, models


class Migration(migrations.Migration):
    atomic = False  # payments are recorded while it is built

    dependencies = [
        ('payments', '0019_compare_with_provider_reports'),
    ]

    operations = [
        AddIndexConcurrently(
            model_name='paymentevent',
            index=models.Index(condition=models.Q(('payment_method', 'telegram_provider')), fields=['provider_charge_id'], name='payment_event_at_provider'),
        ),
    ]
