# Tests of the tokenizers. The parity tests need a Python with the packages of tests/requirements.txt,
# and tokenizer_parity the model folder; without them they are reported as skipped.
foreach(name byte_bpe_test find_prompt_test tokenizer_test unigram_test wordpiece_tokenizer_test)
  vecino_add_test(NAME ${name} SOURCES ${name}.cc LIBS vecino_tokenizer LABELS unit)
endforeach()

set(test_python ${VECINO_TEST_PYTHON})
if(NOT test_python)
  find_package(Python3 REQUIRED COMPONENTS Interpreter)
  set(test_python ${Python3_EXECUTABLE})
endif()

add_executable(tokenize_lines tokenizer_parity/tokenize_lines.cc)
target_link_libraries(tokenize_lines PRIVATE vecino_warnings vecino_tokenizer)

set(parity ${CMAKE_CURRENT_LIST_DIR}/tokenizer_parity)
add_test(NAME tokenizer_parity
         COMMAND ${test_python} ${parity}/check_parity.py model --tool $<TARGET_FILE:tokenize_lines>
                 --model ${VECINO_MODEL_ROOT}/all-MiniLM-L6-v2 --data ${CMAKE_SOURCE_DIR}/../shared/data)
add_test(NAME tokenizer_options_parity
         COMMAND ${test_python} ${parity}/check_parity.py options
                 --tool $<TARGET_FILE:tokenize_lines>)
add_test(NAME bpe_parity
         COMMAND ${test_python} ${parity}/check_bpe.py --tool $<TARGET_FILE:tokenize_lines>
                 --data ${CMAKE_SOURCE_DIR}/../shared/data)
foreach(name bpe_source_test unigram_source_test)  # by Debian's interpreter, which exports
  add_test(NAME ${name} COMMAND /usr/bin/python3 -B ${CMAKE_CURRENT_LIST_DIR}/${name}.py)
endforeach()
add_test(NAME tokenizer_tables_current
         COMMAND ${test_python} ${parity}/check_tables.py ${CMAKE_SOURCE_DIR})
add_test(NAME unigram_parity
         COMMAND ${test_python} ${parity}/check_unigram.py --tool $<TARGET_FILE:tokenize_lines>
                 --data ${CMAKE_SOURCE_DIR}/../shared/data)
set_tests_properties(tokenizer_parity bpe_parity bpe_source_test unigram_source_test tokenizer_tables_current
                     PROPERTIES LABELS integration TIMEOUT 600 SKIP_RETURN_CODE 77)
set_tests_properties(tokenizer_options_parity unigram_parity
                     PROPERTIES LABELS "integration;slow" TIMEOUT 1800 SKIP_RETURN_CODE 77)
