from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('payments', '0022_judge_rows_from_before_fees'),
    ]

    operations = [
        migrations.CreateModel(
            name='SubscriptionDay',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('day', models.DateField(help_text='On which they began or ended, in UTC.')),
                ('plan_code', models.CharField(blank=True, default='', help_text='Empty: the plan is not known.', max_length=50)),
                ('currency', models.CharField(max_length=3)),
                ('payment_method', models.CharField(max_length=20)),
                ('begun', models.BigIntegerField()),
                ('ended', models.BigIntegerField()),
                ('monthly_begun', models.DecimalField(decimal_places=0, help_text="In the currency's smallest unit.", max_digits=30)),
                ('monthly_ended', models.DecimalField(decimal_places=0, help_text="In the currency's smallest unit.", max_digits=30)),
                ('counted_at', models.DateTimeField()),
            ],
        ),
        migrations.AddField(
            model_name='revenueday',
            name='renewals',
            field=models.BigIntegerField(db_default=0, default=0, help_text='Of the payments, how many renewed.'),
        ),
        migrations.AddField(
            model_name='subscriptionpayment',
            name='is_renewal',
            field=models.BooleanField(db_default=False, help_text='Whether it followed a period paid before.'),
        ),
        migrations.AddIndex(
            model_name='subscription',
            index=models.Index(fields=['started_at'], name='subscription_by_start'),
        ),
        migrations.AddConstraint(
            model_name='subscriptionday',
            constraint=models.UniqueConstraint(fields=('day', 'plan_code', 'currency', 'payment_method'), name='subscription_day_once'),
        ),
    ]
