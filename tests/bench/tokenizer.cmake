# Tokens a second of the tokenizer; tokenizer_peer.py runs it beside Hugging Face's.
add_executable(tokenizer_bench tokenizer_bench.cc)
target_link_libraries(tokenizer_bench PRIVATE vecino_warnings vecino_tokenizer)
