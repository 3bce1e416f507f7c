from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('payments', '0026_find_whom_to_remind'),
    ]

    operations = [
        migrations.AlterField(
            model_name='refund',
            name='faults',
            field=models.PositiveIntegerField(db_default=0, default=0, help_text='How often the channel said what it would say again under the same key.'),
        ),
        migrations.AlterField(
            model_name='subscription',
            name='first_charge_id',
            field=models.TextField(help_text='By which its channel knows it; of what we know, the first.'),
        ),
    ]
