# Tests of the tokenizer. The parity tests need a Python with the packages of
# tests/requirements.txt, and the first the model folder; without them they are reported as skipped.
vecino_add_test(NAME wordpiece_tokenizer_test SOURCES wordpiece_tokenizer_test.cc
                LIBS vecino_tokenizer LABELS unit)
vecino_add_test(NAME unigram_test SOURCES unigram_test.cc LIBS vecino_tokenizer LABELS unit)

set(test_python ${VECINO_TEST_PYTHON})
if(NOT test_python)
  find_package(Python3 REQUIRED COMPONENTS Interpreter)
  set(test_python ${Python3_EXECUTABLE})
endif()

add_executable(tokenize_lines tokenizer_parity/tokenize_lines.cc)
target_link_libraries(tokenize_lines PRIVATE vecino_warnings vecino_tokenizer)
add_test(NAME unigram_source_test
         COMMAND /usr/bin/python3 -B ${CMAKE_CURRENT_LIST_DIR}/unigram_source_test.py)
set_tests_properties(unigram_source_test PROPERTIES LABELS unit)

add_executable(unigram_lines tokenizer_parity/unigram_lines.cc)
target_link_libraries(unigram_lines PRIVATE vecino_warnings vecino_tokenizer nlohmann_json::nlohmann_json
                                            absl::strings)

set(parity ${CMAKE_CURRENT_LIST_DIR}/tokenizer_parity)
add_test(NAME tokenizer_parity
         COMMAND ${test_python} ${parity}/check_parity.py model --tool $<TARGET_FILE:tokenize_lines>
                 --model ${VECINO_MODEL_ROOT}/all-MiniLM-L6-v2 --data ${CMAKE_SOURCE_DIR}/../shared/data)
add_test(NAME tokenizer_options_parity
         COMMAND ${test_python} ${parity}/check_parity.py options
                 --tool $<TARGET_FILE:tokenize_lines>)
add_test(NAME tokenizer_tables_current
         COMMAND ${test_python} ${parity}/check_tables.py ${CMAKE_SOURCE_DIR})
add_test(NAME unigram_parity
         COMMAND ${test_python} ${parity}/check_unigram.py --tool $<TARGET_FILE:unigram_lines>
                 --data ${CMAKE_SOURCE_DIR}/../shared/data)
set_tests_properties(tokenizer_parity tokenizer_tables_current
                     PROPERTIES LABELS integration TIMEOUT 600 SKIP_RETURN_CODE 77)
set_tests_properties(tokenizer_options_parity unigram_parity
                     PROPERTIES LABELS "integration;slow" TIMEOUT 1800 SKIP_RETURN_CODE 77)
