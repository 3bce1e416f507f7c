from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('payments', '0019_compare_with_provider_reports'),
    ]

    operations = [
        migrations.AddIndex(
            model_name='paymentevent',
            index=models.Index(condition=models.Q(('payment_method', 'telegram_provider')), fields=['provider_charge_id'], name='payment_event_at_provider'),
        ),
    ]
