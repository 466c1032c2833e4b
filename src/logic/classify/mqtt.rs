//! Classification of mqtt answers.
