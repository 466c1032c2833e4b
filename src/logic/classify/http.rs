//! Classification of http answers.
