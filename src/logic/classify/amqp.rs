//! Classification of amqp answers.
