from django.contrib.postgres.operations import AddConstraintNotValid
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('telegram_bot', '0002_find_updates_by_receipt'),
    ]

    operations = [
        migrations.AlterModelOptions(
            name='incomingupdate',
            options={'permissions': [('decide_incomingupdate', 'Can replay and dismiss updates')]},
        ),
        migrations.AlterField(
            model_name='incomingupdate',
            name='status',
            field=models.CharField(choices=[('pending', 'to be processed'), ('done', 'done'), ('quarantined', 'not understood'), ('dead', 'given up'), ('dismissed', 'dismissed by staff')], max_length=11),
        ),
        migrations.RemoveConstraint(model_name='incomingupdate', name='update_status'),
        # Judges the rows of the future at once; those there are keep the table locked no longer than that takes.
        AddConstraintNotValid(
            model_name='incomingupdate',
            constraint=models.CheckConstraint(condition=models.Q(('status__regex', '^(pending|done|quarantined|dead|dismissed)$')), name='update_status'),
        ),
    ]
