from django.contrib.postgres.operations import ValidateConstraint
from django.db import migrations


class Migration(migrations.Migration):

    dependencies = [
        ('payments', '0015_sell_by_stripe'),
    ]

    operations = [
        ValidateConstraint(model_name='earlyrefund', name='early_refund_is_a_refund'),
        ValidateConstraint(model_name='paymentevent', name='payment_event_type_of_its_method'),
        ValidateConstraint(model_name='paymentevent', name='payment_event_only_refunds_refund'),
        ValidateConstraint(model_name='refund', name='refund_amount_positive'),
    ]
