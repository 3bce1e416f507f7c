from django.contrib.postgres.operations import ValidateConstraint
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('telegram_bot', '0003_let_staff_decide_about_updates'),
    ]

    operations = [
        ValidateConstraint(model_name='incomingupdate', name='update_status'),
        migrations.AddIndex(
            model_name='incomingupdate',
            index=models.Index(condition=models.Q(('status', 'quarantined')), fields=['received_at'], name='update_quarantined'),
        ),
        migrations.AddIndex(
            model_name='incomingupdate',
            index=models.Index(condition=models.Q(('status', 'dismissed')), fields=['received_at'], name='update_dismissed'),
        ),
    ]
