from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('payments', '0026_find_whom_to_remind'),
    ]

    operations = [
        migrations.AlterField(
            model_name='subscription',
            name='first_charge_id',
            field=models.TextField(help_text='By which its channel knows it; of what we know, the first.'),
        ),
    ]
